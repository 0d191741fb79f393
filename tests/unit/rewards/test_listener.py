"""RRG's listener: by hand, by properties, and who is mistaken for whom in the toybox."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.listener import ListenerReward, told_apart
from repic.rewards.rubric import RewardBatch, Rubric
from repic.toybox.candidates import lookalike_scenes
from repic.toybox.dataset import CaptionDataset, SceneRules
from repic.toybox.scene import ToyboxImage, portrait
from repic.toybox.world import split_of_toy, toys
from repic.types import Example, ImageSource, Rollout
from tests.properties import at_most
from tests.unit.rewards.test_claims import rollout

PICTURES = [portrait(toy, f"{i}", scale=1.0) for i, toy in enumerate(toys("train")[:3])]


def example(name: str = "a", **changes: object) -> Example:
    made = Example(name, "caption", (), PICTURES[0], "", "", (), (), 1)
    return replace(made, **changes)


def others(example: Example, number: int) -> Sequence[ImageSource]:
    return PICTURES[1 : 1 + number] if example.id != "alone" else []


class Heard:
    """Log-probabilities by text and picture, and what was asked for."""

    def __init__(self, table: dict[tuple[str, str], list[float]]) -> None:
        self.table, self.asked = table, []

    def __call__(self, rollouts: Sequence[Rollout]) -> list[torch.Tensor]:
        self.asked += rollouts
        pictures = [r.example.query for r in rollouts]
        return [
            torch.tensor(self.table[r.text, picture.key])
            for r, picture in zip(rollouts, pictures, strict=True)
            if picture is not None
        ]


KEYS = [picture.key for picture in PICTURES]
HEARD = {
    # p = e^-1 before its own picture, e^-2 and e^-3 before the others
    **{("good", key): [-0.5, -0.5 - i] for i, key in enumerate(KEYS)},
    **{("vague", key): [-1.0] for key in KEYS},
    **{("wrong", key): [float(i) - 5] for i, key in enumerate(KEYS)},
    **{("lost", key): [math.nan if i else -1.0] for i, key in enumerate(KEYS)},
}


def scored(*rollouts: Rollout, number: int = 2) -> tuple[RewardBatch, Heard]:
    heard = Heard(HEARD)
    reward = ListenerReward(candidates=others, number=number, tasks=["caption"])
    rubric = Rubric({"listener": reward}, {"listener": 1.0})
    own = [torch.tensor(HEARD[r.text, KEYS[0]]) for r in rollouts]
    return rubric.score(rollouts, own, heard), heard


def test_by_hand() -> None:
    good = math.exp(-1) / (math.exp(-1) + math.exp(-2) + math.exp(-3))
    batch, heard = scored(*(rollout(text, example()) for text in ("good", "vague", "wrong")))
    assert batch.values[:, 0].tolist() == pytest.approx([good, 0, 0])
    # Each candidate is shown to all captions of a prompt, one after another.
    assert [r.text for r in heard.asked] == ["good", "vague", "wrong"] * 2
    assert [r.example.id for r in heard.asked] == ["a#0"] * 3 + ["a#1"] * 3
    batch, _ = scored(rollout("good", example()), number=1)
    assert batch.values.item() == pytest.approx(math.exp(-1) / (math.exp(-1) + math.exp(-2)))


def test_where_it_applies_follows_from_the_example_and_what_is_lost_has_failed() -> None:
    batch, heard = scored(
        rollout("good", example("alone")),
        rollout("good", example(task="locate")),
        rollout("lost", example()),
        rollout("good", example()),
    )
    assert batch.values[:, 0].isnan().tolist() == [True, True, True, False]
    assert batch.failed is not None
    assert batch.failed[:, 0].tolist() == [False, False, True, False]
    assert {r.example.id for r in heard.asked} == {"a#0", "a#1"}
    reward = ListenerReward(candidates=others, number=2, tasks=["caption"])
    assert reward.score([rollout("good", example())], None, None).values.isnan().all()


@at_most(60)
@given(st.lists(st.floats(-50, 0), min_size=2, max_size=5), st.floats(-30, 30))
def test_it_is_a_share_that_the_largest_alone_gets(said: list[float], shift: float) -> None:
    values = torch.tensor(said, dtype=torch.float64)
    found = told_apart(values)
    weights = [math.exp(value) for value in said]
    is_first = said[0] > max(said[1:])
    assert found == pytest.approx(weights[0] / sum(weights) if is_first else 0.0)
    assert found == 0 or found > 1 / len(said)
    if (
        abs(said[0] - max(said[1:])) > 1e-6
    ):  # a remark that is as likely of all neither pays nor costs
        assert told_apart(values + shift) == pytest.approx(found)


def test_candidates_differ_from_the_scene_in_one_friend_by_one_attribute() -> None:
    rules = SceneRules([1, 1], 0.5, [1, 1], 0.0, 0.0, 0.0, 0.0)
    settings = dict(split="train", counts=[1, 3], size=12, seed=0, rules=rules)
    dataset = CaptionDataset(**settings, questions=["?"], scale=1.0)
    numbers = []
    for i in range(12):
        scene = dataset[i]
        assert isinstance(scene.query, ToyboxImage)
        found = lookalike_scenes(scene, 2)
        assert found == lookalike_scenes(scene, 2)
        assert len({p.key for p in found} | {scene.query.key}) == len(found) + 1
        numbers.append(len(found))
        assert scene.scene is not None
        named = {tuple(m.attributes.values())[:5] for m in scene.scene.mentions if m.name}
        for picture in found:
            assert isinstance(picture, ToyboxImage)
            assert picture.background == scene.query.background
            pairs = list(zip(scene.query.beings, picture.beings, strict=True))
            ((old, new),) = [(a[0], b[0]) for a, b in pairs if a[0] != b[0]]
            assert all(a[1] == b[1] for a, b in pairs)
            assert old.differences(new) == 1
            assert tuple(old.attributes.values()) in named
            assert split_of_toy(new) == "train"
    assert set(numbers) == {2}
    assert lookalike_scenes(example(), 2) == []
    assert lookalike_scenes(example(query=None), 2) == []
