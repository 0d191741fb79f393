"""Mixed tasks: deterministic, in the shares that were asked for."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from repic.toybox.mixture import Shares, TaskMixture
from repic.values import Door
from tests.unit.toybox.test_dataset import RULES, make

SHARES = {"same": 0.345, "locate": 0.345, "caption": 0.31}
ALONE = replace(RULES, absent=(0, 0), drop_image=0.0)


def mixture(shares=SHARES, counts=(1, 2), size=600, seed=0, rules=ALONE) -> TaskMixture:
    return TaskMixture(
        "train",
        shares=shares,
        counts=counts,
        size=size,
        seed=seed,
        rules=rules,
        questions=["Say."],
        scale=1.0,
    )


def test_shares() -> None:
    tasks = Counter(mixture()[i].task for i in range(600))
    for task, share in SHARES.items():
        assert tasks[task] / 600 == pytest.approx(share, abs=0.06)


def test_an_example_depends_on_seed_and_index_alone() -> None:
    assert mixture()[5] == mixture(size=9)[5]
    assert [mixture()[i] for i in range(9)] != [mixture(seed=1)[i] for i in range(9)]
    assert len({mixture()[i].id for i in range(200)}) == 200


def test_captions_are_those_of_the_dataset_and_introduce_only_who_is_there() -> None:
    captions = mixture({"caption": 1.0})
    plain = make("train", counts=(1, 2), rules=ALONE)
    for index in range(20):
        assert captions[index] == plain[index]
        assert set(captions[index].pool) == set(captions[index].present)


def test_targets_are_what_the_rewards_read() -> None:
    examples = [mixture()[i] for i in range(60)]
    assert {e.target for e in examples if e.task == "same"} == {"yes", "no"}
    assert all(e.target.startswith("[") for e in examples if e.task == "locate")


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"sing": 1.0}, "shares.sing: the key 'sing' is not caption, look_up_colour, "),
        ({"smae": 1.0}, "; did you mean same?"),
        ({"same": -1.0}, "shares.same: -1.0 is not a number from 0 to "),
        ({"same": float("inf")}, "shares.same: Infinity is not a number from 0 to "),
        ({"same": 0.0}, 'shares: {"same": 0.0} is not a mapping from tasks to numbers of 0 or mor'),
        ({}, "shares: {} is not a mapping from tasks to numbers of 0 or more, one of them above"),
    ],
)
def test_what_is_no_mixture_is_refused(shares: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Door({"shares": shares}, {"shares": shares}).check({"shares": Shares})


def test_there_are_as_many_examples_as_was_asked_for() -> None:
    with pytest.raises(IndexError):
        mixture()[600]
