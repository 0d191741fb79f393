from pathlib import Path

import pytest
import torch

from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.types import Rollout
from tests import tiny
from tests.fakes import Noise, example

ENGINE = PlainEngine()
LORA = {"r": 4, "alpha": 8, "dropout": 0.0}
WAYS = [
    {"lora": None, "train_vision": False},
    {"lora": None, "train_vision": True},
    {"lora": LORA, "train_vision": False},
    {"lora": LORA, "train_vision": True},
]


def rollouts(policy: Policy) -> list[Rollout]:
    examples = [example("a", [Noise(1)], Noise(2, 42, 28)), example("b")]
    answers = policy.encoder.encode_answers(["a red bear", "a green cat, <bo>"])
    return [
        Rollout(one, "", ids, torch.zeros(len(ids)), True)
        for one, ids in zip(examples, answers, strict=True)
    ]


def shake(policy: Policy) -> None:
    """Move everything that is trained, as an optimizer would."""
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_trained(directory: Path, way: dict) -> None:
    policy = tiny.load(directory, **way)
    trained = {name for name, p in policy.model.named_parameters() if p.requires_grad}
    vision = {name for name in trained if "language_model" not in name and "lm_head" not in name}
    assert bool(vision) == way["train_vision"]
    language = trained - vision
    assert language
    assert all((".lora_" in name) == (way["lora"] is not None) for name in language)
    # Adapters are on the language model only, all seven projections of both layers.
    adapters = [name for name, _ in policy.model.named_parameters() if ".lora_" in name]
    assert len(adapters) == (2 * 7 * 2 if way["lora"] else 0)
    assert all("language_model" in name for name in adapters)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_reference_stays_where_it_was(directory: Path, way: dict) -> None:
    policy = tiny.load(directory, **way)
    batch = rollouts(policy)
    policy.freeze_reference()
    before = ENGINE.logprobs(policy, batch).logprobs.detach()
    shake(policy)
    after = ENGINE.logprobs(policy, batch).logprobs.detach()
    reference = ENGINE.reference_logprobs(policy, batch)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(reference, before, atol=1e-6, rtol=0)
    # And afterwards the policy acts for itself again.
    torch.testing.assert_close(ENGINE.logprobs(policy, batch).logprobs, after, atol=0, rtol=0)


def test_the_reference_takes_no_gradient_and_shares_what_is_frozen(qwen: Path) -> None:
    policy = tiny.load(qwen)
    policy.freeze_reference()
    reference = dict(policy._reference[0].named_parameters())
    for name, parameter in policy.model.named_parameters():
        assert (reference[name] is parameter) == ("visual" in name), name
        assert parameter.requires_grad == ("visual" not in name), name
    assert not any(p.requires_grad for p in reference.values())
    assert not ENGINE.reference_logprobs(policy, rollouts(policy)).requires_grad
    # The vision attention of the copy uses its own modules.
    tower = policy._reference[0].model.visual
    assert tower.blocks[0].attn.forward.__self__ is tower.blocks[0].attn


def test_adapters_need_no_copy(qwen: Path) -> None:
    policy = tiny.load(qwen, lora=LORA)
    policy.freeze_reference()
    assert policy._reference == ()


@pytest.mark.parametrize("way", [WAYS[0], WAYS[3]], ids=str)
def test_a_reference_that_was_not_frozen_is_refused(qwen: Path, way: dict) -> None:
    policy = tiny.load(qwen, **way)
    with pytest.raises(ValueError, match="freeze_reference"):
        ENGINE.reference_logprobs(policy, rollouts(policy))


def test_the_reference_is_not_saved_and_moves_along(qwen: Path) -> None:
    policy = tiny.load(qwen)
    names = set(policy.state_dict())
    policy.freeze_reference()
    assert set(policy.state_dict()) == names
    assert len(list(policy.parameters())) == len(list(policy.model.parameters()))
    policy.to(torch.float64)
    assert {p.dtype for p in policy._reference[0].parameters()} == {torch.float64}


def test_evaluating_restores_every_module(qwen: Path) -> None:
    policy = tiny.load(qwen).train()
    policy.model.lm_head.eval()
    with policy.evaluating():
        assert not any(module.training for module in policy.modules())
    assert policy.model.model.training
    assert not policy.model.lm_head.training
