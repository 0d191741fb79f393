"""The checks at the start of a run notice what they are there for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from repic.data.prompts import PromptTemplate
from repic.models.engine.checks import check_engine, without_pictures
from repic.models.engine.packed import PackedEngine
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.types import Clip, Frame, Rollout
from tests import tiny
from tests.fakes import Noise, example


def groups(policy: Policy) -> list[list[Rollout]]:
    prompts = [example("a", [Noise(1)], Noise(2)), example("b", question="red?")]
    rollouts = tiny.packed_engine().sample(
        policy, prompts, group_size=3, sampling=tiny.sampling(), seed=0
    )
    return [rollouts[:3], rollouts[3:]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_that_is_right_passes(directory: Path, dtype: str) -> None:
    policy = tiny.load(directory, dtype=dtype).train()
    engine = tiny.packed_engine()
    engine.meter.count(prompt=7)
    check_engine(engine, policy, groups(policy))
    assert policy.training
    assert engine.meter.take() == {"tokens/prompt": 7}  # checking is no part of the step's work


def test_a_clip_is_several_pictures_to_every_engine(directory: Path) -> None:
    frames = tuple(Frame(second, Noise(i)) for i, second in enumerate((1.0, 2.5, 4.0)))
    clip = example("clip", [Noise(9)], Clip("film", frames))
    words = PromptTemplate(
        system=None, reference="[{image}][{info}]{name} ", query="[{image}]{question}"
    )
    policy = tiny.load(directory, prompt=words)
    (prompt,) = policy.encoder.prompts([clip])
    assert prompt.images == (Noise(9), *(frame.image for frame in frames))
    engine = tiny.packed_engine()
    rollouts = engine.sample(policy, [clip], group_size=3, sampling=tiny.sampling(), seed=0)
    counts = engine.meter.take()
    assert counts["tokens/prompt"] == len(prompt.input_ids)  # once for the group
    plain = PlainEngine().logprobs(policy, rollouts)
    torch.testing.assert_close(
        engine.logprobs(policy, rollouts).logprobs, plain.logprobs, atol=1e-5, rtol=0
    )
    check_engine(engine, policy, [rollouts])
    blank = without_pictures(clip).query
    assert isinstance(blank, Clip)
    assert [frame.second for frame in blank.frames] == [1.0, 2.5, 4.0]
    assert {frame.image.load().getpixel((0, 0)) for frame in blank.frames} == {(128, 128, 128)}


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_an_engine_that_is_wrong_stops_the_run(qwen: Path, error: float) -> None:
    class Wrong(PackedEngine):
        def logprobs(self, *args: Any, **options: Any) -> Any:
            scored = super().logprobs(*args, **options)
            return scored._replace(logprobs=scored.logprobs + error)

    policy = tiny.load(qwen)
    with pytest.raises(ValueError, match=r"library's own forward pass.*engine=plain"):
        check_engine(Wrong(feature_cache=8, cuda_graphs=False), policy, groups(policy))


def test_positions_of_another_kind_stop_the_run(qwen: Path, monkeypatch) -> None:
    # The library's silent fall back: plain counting in place of M-RoPE.
    policy = tiny.load(qwen)
    rollouts = groups(policy)
    original = Policy.hidden_states

    def plain_positions(self: Policy, embeddings: Any, *, packing: Any = None, **kept: Any) -> Any:
        if packing is not None:
            kept["position_ids"] = kept["position_ids"][:1].expand(3, -1, -1)
        return original(self, embeddings, packing=packing, **kept)

    monkeypatch.setattr(Policy, "hidden_states", plain_positions)
    with pytest.raises(ValueError, match="library's own forward pass"):
        check_engine(tiny.packed_engine(), policy, rollouts)


def test_a_policy_that_does_not_see_is_stopped(qwen: Path) -> None:
    policy = tiny.load(qwen)
    with torch.no_grad():
        for weight in policy.vision_parameters():
            weight.zero_()
    with pytest.raises(ValueError, match="does not see the images"):
        check_engine(tiny.packed_engine(), policy, groups(policy))


def test_prompts_without_pictures_need_no_eyes(qwen: Path) -> None:
    policy = tiny.load(qwen)
    check_engine(tiny.packed_engine(), policy, groups(policy)[1:])


def test_blanks_have_the_size_of_what_they_replace() -> None:
    one = example("a", [Noise(1, 42, 56), None], Noise(2))
    blank = without_pictures(one)
    assert [image.load().size for image in blank.images] == [(42, 56), (28, 28)]
    assert [image.load().getextrema() for image in blank.images] == [((128, 128),) * 3] * 2
    assert not {image.key for image in one.images} & {image.key for image in blank.images}
    assert blank.pool == one.pool
