"""Parts of an answer, by hand."""

import random

import pytest

from repic.toybox.grading import grade
from repic.toybox.tasks import TASKS
from repic.types import Example, Reference

TARGET = "A striped red bear with a blue hat, <bo>. A plain green pig with a white bow."
SLOTS = ("pattern", "colour", "species", "accessory_colour", "accessory")


def example(target: str, references: tuple[Reference, ...]) -> Example:
    return Example("x", "lookup", references, None, "Who?", target, (target,), (), 1)


def test_parts_by_hand():
    known = example(TARGET, (Reference("<bo>", "a red bear", None),))
    assert grade(known, TARGET) == dict.fromkeys(("exact", *SLOTS, "name"), 1.0)
    wrong = "A striped red bear with a blue scarf, <mi>. A plain red pig with a white bow."
    halves = {"accessory": 0.5, "colour": 0.5, "exact": 0.0}  # and no toy to ask the name of
    assert grade(known, wrong) == {**dict.fromkeys(SLOTS, 1.0), **halves}
    # Half of it: what is not said is wrong.
    half = grade(known, "A striped red bear with a blue hat, <bo>.")
    assert half == {**dict.fromkeys(SLOTS, 0.5), "name": 1.0, "exact": 0.0}
    # More than was asked for is not exact; what was asked for is right.
    assert grade(known, TARGET + " A spotted blue dog with a red hat.")["colour"] == 1.0


def test_names_are_right_by_whom_they_are_said_of():
    """In the other order: nobody stands in the right place, and the bear has the right name."""
    known = example(TARGET, (Reference("<bo>", "a red bear", None),))
    turned = "A plain green pig with a white bow, <mi>. A striped red bear with a blue hat, <bo>."
    assert grade(known, turned) == {**dict.fromkeys(SLOTS, 0.0), "name": 0.5, "exact": 0.0}


def test_no_name_is_graded_where_nobody_is_introduced():
    assert "name" not in grade(example(TARGET, ()), TARGET)
    assert grade(example("yes", ()), " yes ") == {"exact": 1.0}
    assert grade(example("yes", ()), "no") == {"exact": 0.0}


@pytest.mark.parametrize("task", TASKS)
def test_every_target_is_right_in_all_parts(task):
    for i in range(20):
        made = TASKS[task](f"{task}/{i}", "val", random.Random(f"{task}/{i}"), 1.0)
        assert set(grade(made, made.target).values()) == {1.0}
