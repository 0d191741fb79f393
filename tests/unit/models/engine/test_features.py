"""A frozen tower sees a picture once; one that is trained sees it every time."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from repic.models.engine import features
from repic.models.engine.features import FeatureCache
from repic.models.families import EncodedImage
from repic.models.policy import Policy
from repic.types import Rollout
from tests import tiny
from tests.fakes import Noise, example


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures that went through the tower, a number for each call."""
    calls: list[int] = []
    original = Policy.picture_features

    def counting(self: Policy, images: Sequence[EncodedImage]):
        calls.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Policy, "picture_features", counting)
    return calls


def test_a_step_computes_each_picture_once(directory: Path, seen: list[int]) -> None:
    policy = tiny.load(directory)
    policy.freeze_reference()
    engine = tiny.packed_engine()
    shared = Noise(1)
    prompts = [example("a", [shared, Noise(2)], Noise(3)), example("b", [shared], Noise(4))]
    rollouts = engine.sample(
        policy, prompts, group_size=3, sampling=tiny.sampling(max_new_tokens=3), seed=0
    )
    for _ in range(2):  # two updates
        engine.reference_logprobs(policy, rollouts)
        engine.logprobs(policy, rollouts)
    assert seen == [4]
    engine.logprobs(
        policy,
        [Rollout(example("c", [Noise(5)], shared), "", torch.ones(2).long(), torch.zeros(2), True)],
    )
    assert seen == [4, 1]


def test_a_tower_that_is_trained_is_asked_every_time(directory: Path, seen: list[int]) -> None:
    policy = tiny.load(directory, train_vision=True)
    policy.freeze_reference()
    one = example("a", [Noise(1)], Noise(2))
    rollout = Rollout(one, "", torch.tensor([40, 41]), torch.zeros(2), False)
    engine = tiny.packed_engine()
    before = engine.reference_logprobs(policy, [rollout])
    engine.logprobs(policy, [rollout]).logprobs.sum().backward()
    assert seen == [2, 2]
    assert any(w.grad is not None and w.grad.abs().max() > 0 for w in policy.vision_parameters())
    with torch.no_grad():
        for weight in policy.vision_parameters():
            weight.mul_(1.3)
    # The reference's own tower has not moved.
    assert torch.equal(engine.reference_logprobs(policy, [rollout]), before)
    assert (engine.logprobs(policy, [rollout]).logprobs - before).abs().max() > 1e-4


def test_weights_that_are_loaded_anew_are_noticed(qwen: Path) -> None:
    policy, cache = tiny.load(qwen), FeatureCache(2**20)
    first = cache.features(policy, [Noise(1)])["noise:1:28x28"]
    assert cache.features(policy, [Noise(1)])["noise:1:28x28"] is first
    with torch.no_grad():
        policy.vision_parameters()[0].mul_(2.0)
    assert not torch.equal(cache.features(policy, [Noise(1)])["noise:1:28x28"], first)


def test_what_was_used_longest_ago_is_forgotten(qwen: Path, seen: list[int]) -> None:
    policy = tiny.load(qwen)
    size = FeatureCache(2**20).features(policy, [Noise(0)])["noise:0:28x28"].nbytes
    cache = FeatureCache(2 * size)
    for number in (1, 2, 1, 3):  # 2 is forgotten
        cache.features(policy, [Noise(number)])
    seen.clear()
    cache.features(policy, [Noise(1), Noise(3)])
    assert seen == []
    assert len(cache.features(policy, [Noise(i) for i in range(9)])) == 9  # a call has all it wants


def test_new_weights_leave_room_for_as_many(qwen: Path, seen: list[int]) -> None:
    policy = tiny.load(qwen)
    size = FeatureCache(2**20).features(policy, [Noise(0)])["noise:0:28x28"].nbytes
    cache = FeatureCache(2 * size)
    cache.features(policy, [Noise(1), Noise(2)])
    with torch.no_grad():
        policy.vision_parameters()[0].mul_(2.0)
    cache.features(policy, [Noise(1), Noise(2)])
    seen.clear()
    cache.features(policy, [Noise(1), Noise(2)])
    assert seen == []


def test_many_pictures_go_through_in_portions(
    directory: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny.load(directory)
    pictures = [Noise(i, 28, 14 + 14 * (i % 3)) for i in range(6)]
    whole = FeatureCache(2**20).features(policy, pictures)
    one = policy.encoder.images.encode(pictures[:1])[0].inputs["pixel_values"].numel()
    monkeypatch.setattr(features, "_PIXELS", 3 * one)
    parts = FeatureCache(2**20).features(policy, pictures)
    assert seen[0] == 6
    assert len(seen) > 2
    assert sum(seen[1:]) == 6
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, atol=1e-5, rtol=0)
