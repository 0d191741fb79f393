"""The engine that computes a prompt once gives what the plain one gives, gradients included."""

from pathlib import Path

import pytest
import torch

from repic.models.plain import PlainEngine
from repic.models.prefix import PrefixEngine
from repic.models.sampling import Sampling
from repic.types import Rollout
from tests import tiny
from tests.tiny import Noise, example

EXAMPLES = [
    example("text", question="red or blue?"),
    example("one", query=Noise(0, 14, 28)),
    example("six", [Noise(seed, 28, 14 * seed) for seed in range(1, 6)], Noise(9)),
]
LORA = {"r": 4, "alpha": 8, "dropout": 0.0}


@pytest.fixture(scope="module", params=["qwen", "llava"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = {"qwen": tiny.build_qwen, "llava": tiny.build_llava}[request.param]
    return build(tmp_path_factory.mktemp(request.param))


def rollouts_of(order: list[int], lengths: list[int]) -> list[Rollout]:
    torch.manual_seed(len(order))
    ids = [torch.randint(5, 250, (length,)) for length in lengths]
    return [
        Rollout(EXAMPLES[i], "", completion, torch.zeros(len(completion)), False)
        for i, completion in zip(order, ids, strict=True)
    ]


@pytest.mark.parametrize(
    ("order", "lengths"),
    [
        ([0, 0, 1, 1, 2, 2], [3, 1, 9, 4, 2, 6]),
        ([2, 0, 2, 0, 2], [5, 5, 1, 2, 8]),  # groups of different sizes, members apart
        ([1, 1], [1, 1]),  # nothing follows the first token
        ([1], [7]),
    ],
)
@pytest.mark.parametrize("changes", [{"train_vision": True}, {"lora": LORA}])
def test_logprobs_and_gradients_equal_the_plain_engine(directory, order, lengths, changes):
    policy = tiny.load(directory, **changes)
    rollouts = rollouts_of(order, lengths)
    found = {}
    for engine in (PlainEngine(), PrefixEngine()):
        policy.zero_grad()
        scored = engine.logprobs(policy, rollouts)
        weights = torch.linspace(-1, 1, scored.logprobs.numel()).view_as(scored.logprobs)
        (weights * scored.logprobs).sum().backward()
        gradients = [p.grad for p in policy.trainable_parameters()]
        found[type(engine)] = scored, [g.clone() if g is not None else None for g in gradients]
    (plain, expected), (shared, gradients) = found[PlainEngine], found[PrefixEngine]
    assert torch.equal(plain.mask, shared.mask)
    torch.testing.assert_close(shared.logprobs, plain.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(shared.entropy, plain.entropy, atol=1e-5, rtol=0)
    assert any(g is not None and g.abs().max() > 0 for g in expected)
    for want, have in zip(expected, gradients, strict=True):
        assert (want is None) == (have is None)
        if want is not None:
            scale = want.abs().max().item() + 0.05
            torch.testing.assert_close(have, want, atol=2e-5 * scale, rtol=0)


def test_the_reference_is_scored_too(directory):
    policy = tiny.load(directory)
    policy.freeze_reference()
    rollouts = rollouts_of([0, 0, 2], [4, 2, 5])
    before = PlainEngine().reference_logprobs(policy, rollouts)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.mul_(1.1)
    shared = PrefixEngine().reference_logprobs(policy, rollouts)
    torch.testing.assert_close(shared, before, atol=1e-5, rtol=0)
    moved = PrefixEngine().logprobs(policy, rollouts).logprobs
    assert (moved - shared).abs().max() > 1e-3


def test_rollouts_of_the_sampler_have_its_logprobs(directory):
    policy = tiny.load(directory)
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=6)
    engine = PrefixEngine()
    rollouts = engine.sample(policy, EXAMPLES, group_size=3, sampling=sampling, seed=1)
    scored = engine.logprobs(policy, rollouts)
    for row, rollout in zip(scored.logprobs, rollouts, strict=True):
        length = len(rollout.completion_ids)
        torch.testing.assert_close(row[:length], rollout.logprobs, atol=1e-5, rtol=0)


def test_checkpointing_falls_back_to_whole_rows(directory):
    policy = tiny.load(directory, gradient_checkpointing=True, lora=LORA)
    policy.train()
    rollouts = rollouts_of([0, 0], [3, 4])
    shared = PrefixEngine().logprobs(policy, rollouts).logprobs
    plain = PlainEngine().logprobs(policy, rollouts).logprobs
    torch.testing.assert_close(shared, plain, atol=1e-5, rtol=0)
