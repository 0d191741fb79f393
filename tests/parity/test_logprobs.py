"""Every family against the library: its forward pass, its gradients and its ``generate``.

The library's side uses its own processor, its own positions, its own places and masks of features,
its own loop over images in the vision tower and the logits of every place; one rollout at a time.
"""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel

from repic.models import families, loading
from repic.models.engine.base import Engine
from repic.models.engine.checks import check_engine
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.types import Example, Rollout
from tests import library, tiny, tiny_families
from tests.fakes import Noise, example

EXAMPLES = [
    example("text", question="red or blue?"),
    example("one", query=Noise(0, 14, 28)),
    example("two", [Noise(1)], Noise(2, 56, 42), "Who?"),
    example("six", [Noise(seed, 28, 14 * seed) for seed in range(1, 6)], Noise(9)),
]
PACKED = [name for name, family in families.FAMILIES.items() if family.unpackable is None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: build(tmp_path_factory.mktemp(name)) for name, build in tiny_families.BUILDERS.items()
    }


def engines() -> tuple[Engine, ...]:
    return PlainEngine(), tiny.packed_engine()


def rollouts_of(lengths: tuple[int, ...] = (1, 7, 3, 12, 5)) -> list[Rollout]:
    """Captions of the examples, two of one among them, without a special token."""
    draw = torch.Generator().manual_seed(0)
    ids = [torch.randint(40, 250, (length,), generator=draw) for length in lengths]
    examples = [*EXAMPLES[:3], EXAMPLES[2], EXAMPLES[3]]
    return [
        Rollout(one, "", completion, torch.zeros(len(completion)), False)
        for one, completion in zip(examples, ids, strict=True)
    ]


def library_logprobs(
    model: PreTrainedModel, folder: Path, one: Example, completion_ids: Tensor
) -> Tensor:
    inputs = library.inputs(folder, [one])
    length = len(completion_ids)
    row = torch.cat([inputs["input_ids"], completion_ids[None]], dim=1)
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            kinds = inputs[name]
            inputs[name] = torch.cat([kinds, kinds.new_zeros(1, length)], dim=1)
    inputs |= {"input_ids": row, "attention_mask": torch.ones_like(row)}
    model.model.rope_deltas = None  # left by the forward before
    logits = model(**inputs).logits[:, -length - 1 : -1]
    return logits.log_softmax(dim=-1).gather(-1, completion_ids[None, :, None])[0, :, 0]


@pytest.mark.parametrize("family", tiny_families.BUILDERS)
def test_logprobs_and_gradients_equal_the_library(family: str, folders: dict[str, Path]) -> None:
    folder, rollouts = folders[family], rollouts_of()
    network = AutoModelForImageTextToText.from_pretrained(folder)
    weights = torch.linspace(-1, 1, len(rollouts))
    expected = [library_logprobs(network, folder, r.example, r.completion_ids) for r in rollouts]
    (weights @ torch.stack([logprobs.sum() for logprobs in expected])).backward()
    for engine in engines():
        policy = tiny.load(folder, train_vision=True)
        ours = engine.logprobs(policy, rollouts)
        for found, mask, logprobs in zip(ours.logprobs, ours.mask, expected, strict=True):
            torch.testing.assert_close(found[mask], logprobs, atol=1e-5, rtol=0)
        (weights @ ours.logprobs.sum(dim=1)).backward()
        largest = max(p.grad.abs().max().item() for p in network.parameters() if p.grad is not None)
        for (name, found), other in zip(
            policy.model.named_parameters(), network.parameters(), strict=True
        ):
            if other.grad is None:  # layers of the tower behind the one that is used
                assert found.grad is None, name
                continue
            scale = other.grad.abs().max().item() + 0.05 + 1e-3 * largest
            torch.testing.assert_close(found.grad, other.grad, atol=2e-5 * scale, rtol=0, msg=name)


@pytest.mark.parametrize("family", tiny_families.BUILDERS)
def test_greedy_captions_equal_those_of_generate(family: str, folders: dict[str, Path]) -> None:
    folder = folders[family]
    network = AutoModelForImageTextToText.from_pretrained(folder)
    policy = tiny.load(folder)
    policy.stop_ids = ()
    greedy = tiny.sampling(temperature=0.0, max_new_tokens=8)
    drawn = [
        engine.sample(policy, EXAMPLES, group_size=1, sampling=greedy, seed=0)
        for engine in engines()
    ]
    compared = 0
    for number, one in enumerate(EXAMPLES):
        inputs = library.inputs(folder, [one])
        rows = network.generate(**inputs, max_new_tokens=8, do_sample=False, eos_token_id=[])
        expected = rows[0, inputs["input_ids"].shape[1] :].tolist()
        for rollouts in drawn:
            found = rollouts[number].completion_ids.tolist()
            # An image token in an answer is a picture's place to the library, and ends the contest.
            end = next((i for i, x in enumerate(expected) if x in policy.encoder.image_ids), 8)
            assert found[:end] == expected[:end]
            compared += end
    assert compared > 30  # of 2 engines, 4 prompts and 8 tokens


@pytest.mark.parametrize("family", PACKED)
def test_adapters_and_what_is_seen_with(family: str, folders: dict[str, Path]) -> None:
    policy = tiny.load(folders[family], lora={"r": 4, "alpha": 8, "dropout": 0.0})
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    layers = policy.network.config.get_text_config().num_hidden_layers
    assert len(names) == 2 * 7 * layers
    assert all(policy.family.language in name for name in names)
    seeing = policy.vision_parameters()
    assert seeing
    read = policy.network.get_input_embeddings().weight
    assert all(weight is not read for weight in seeing)
    before = policy.picture_features(policy.encoder.images.encode([Noise(1)]))
    with torch.no_grad():
        for weight in seeing:
            weight.zero_()
    after = policy.picture_features(policy.encoder.images.encode([Noise(1)]))
    assert not after[0].any()
    assert before[0].any()


def test_a_fall_back_to_plain_positions_would_be_noticed(folders: dict[str, Path]) -> None:
    folder = folders["qwen2_5_vl"]
    network = AutoModelForImageTextToText.from_pretrained(folder)
    completion = torch.tensor([40, 41, 42])
    policy = tiny.load(folder)
    rollout = Rollout(EXAMPLES[3], "", completion, torch.zeros(3), False)
    ours = PlainEngine().logprobs(policy, [rollout]).logprobs[0]
    right = library_logprobs(network, folder, EXAMPLES[3], completion)
    inputs = library.inputs(folder, [EXAMPLES[3]])
    network.model.rope_deltas = None
    row = torch.cat([inputs["input_ids"], completion[None]], dim=1)
    wrong = network(
        input_ids=row,
        pixel_values=inputs["pixel_values"],
        image_grid_thw=inputs["image_grid_thw"],
    ).logits[0, -4:-1]
    wrong = wrong.log_softmax(dim=-1).gather(-1, completion[:, None])[:, 0]
    assert (right - wrong).abs().max() > 1e-2
    torch.testing.assert_close(ours, right, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("qwen3_vl", {"injected": None}),
        ("qwen3_vl", {"uses_mrope": False}),
        ("gemma3", {"unpackable": None}),  # a picture's tokens would not see those behind them
    ],
)
def test_an_entry_that_leaves_something_out_is_noticed(
    family: str, change: dict, folders: dict[str, Path]
) -> None:
    policy = tiny.load(folders[family])
    groups = [rollouts_of()[2:3]]
    for engine in engines():
        check_engine(engine, policy, groups)
    policy.encoder.family = replace(policy.family, **change)
    policy.encoder._kept.clear()
    for engine in engines()[: 1 if family == "gemma3" else 2]:
        with pytest.raises(ValueError, match=rf"library's own forward.*entry of {family}"):
            check_engine(engine, policy, groups)


def unlisted(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    monkeypatch.delitem(families.FAMILIES, name)
    loading._say_once.cache_clear()
    monkeypatch.setattr(tiny, "_LOADED", {})
    return tiny.load(folder)


def test_a_family_without_an_entry_runs_by_the_library_and_says_so(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = tiny.load(folders["llava"])
    known.stop_ids = tuple(range(250, 300))  # so that rollouts end at different places
    drawing = {"group_size": 3, "sampling": tiny.sampling(max_new_tokens=12), "seed": 1}
    expected = PlainEngine().sample(known, EXAMPLES[:3], **drawing)
    with caplog.at_level(logging.WARNING):
        policy = unlisted("llava", folders["llava"], monkeypatch)
    assert "no entry in repic/models/families.py" in caplog.text
    assert "the library's whole forward pass" in caplog.text
    policy.stop_ids = known.stop_ids
    for engine in engines():
        found = engine.sample(policy, EXAMPLES[:3], **drawing)
        assert len({len(rollout.completion_ids) for rollout in found}) > 2
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.completion_ids.tolist() == theirs.completion_ids.tolist()
            assert (ours.text, ours.finished) == (theirs.text, theirs.finished)
            torch.testing.assert_close(ours.logprobs, theirs.logprobs, atol=1e-5, rtol=0)
        scored = engine.logprobs(policy, found, entropy=True)
        right = PlainEngine().logprobs(known, found, entropy=True)
        assert torch.equal(scored.mask, right.mask)
        for ours, theirs in zip(scored, right, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
        assert engine.meter.take()["tokens/prompt"] > 0
        check_engine(engine, policy, [found[:3], found[3:6]])
    scored.logprobs.sum().backward()
    assert policy.network.get_input_embeddings().weight.grad is not None
    assert engine.split(policy, found, max_tokens=60)[0].stop < len(found)


def test_a_processor_that_cannot_be_made_is_explained(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"no entry in repic.*cannot be made here"):
        unlisted("qwen3_vl", folders["qwen3_vl"], monkeypatch)
