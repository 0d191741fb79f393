"""Who is there when: the reward of clips."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.presence import PresenceReward
from repic.types import Clip, Example, Frame, Mention, Reference, Scene
from tests.fakes import Noise

POOL = ("<bo>", "<mi>", "<zu>")
SECONDS = (1.0, 3.0, 5.0)


def clip(times: dict[str, str], task: str = "caption") -> Example:
    mentions = [Mention({"time": time}, name) for name, time in times.items()]
    return Example(
        id="x",
        task=task,
        references=tuple(Reference(name, "a toy", None) for name in POOL),
        query=Clip("film", tuple(Frame(second, Noise(int(second))) for second in SECONDS)),
        present=tuple(times),
        num_concepts=len(times),
        scene=Scene((*mentions, Mention({"time": "at 1 s"}))),
    )


# Of nine pairs of a name and a frame these are true: bo at 1 and 3 s, mi at 5 s.
EXAMPLE = clip({"<bo>": "from 1 s to 3 s", "<mi>": "at 5 s"})


def score(caption: str, example: Example = EXAMPLE) -> float:
    parts = PresenceReward(tasks=["caption"])(caption, example)
    assert tuple(parts) == PresenceReward.components
    return parts["presence"]


@pytest.mark.parametrize(
    ("caption", "value"),
    [
        ("A bear, <bo>, from 1 s to 3 s. A cat, <mi>, at 5 s.", 1),
        ("At 1 s there is <bo>. At 3 s there is <bo>. At 5 s there is <mi>.", 1),
        ("<bo> at 1 s. <mi> at 5 s.", 2 / 3),
        ("<bo> and <mi> are there.", 1 - 3 / 6),  # always, by what it says
        ("<bo> from 1 s to 5 s.", 2 / 3 - 1 / 6),
        ("<zu> at 1 s.", -1 / 6),
        ("<bo> at 1 s. <bo> at 1 s. <bo> at 1 s.", 1 / 3),
        ("Here are <bo>, <mi> and <zu>.", 0),
        ("Nobody is there.", 0),
        ("", 0),
        (" ".join(f"<no{i}>." for i in range(9)), -1),
    ],
)
def test_by_hand(caption: str, value: float) -> None:
    assert score(caption) == pytest.approx(value)


@given(st.sets(st.sampled_from(POOL)), st.sampled_from(["", " at 3 s", " from 1 s to 3 s"]))
def test_naming_at_random_pays_nothing_on_average(names: set[str], time: str) -> None:
    """Over all truths with one being in one frame."""
    said = " ".join(f"{name}{time}." for name in sorted(names))
    truths = [clip({name: f"at {s:g} s"}) for name, s in product(POOL, SECONDS)]
    assert sum(score(said, truth) for truth in truths) == pytest.approx(0, abs=1e-9)


@given(st.text(alphabet="<bomizu> 135s.attofr", max_size=60))
def test_only_the_truth_has_one(text: str) -> None:
    assert -1 <= score(text) <= 1


def test_where_nobody_knows_it_does_not_apply() -> None:
    still = Example(**{**EXAMPLE.__dict__, "query": Noise(1)})
    for example in (still, clip({"<bo>": "at 1 s"}, task="same"), clip({})):
        assert math.isnan(score("<bo>", example))
