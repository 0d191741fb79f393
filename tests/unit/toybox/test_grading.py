"""Parts of an answer, by hand."""

import random

import pytest

from repic.toybox.grading import count_toys, grade
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


def test_yes_and_no_are_graded_apart():
    assert grade(example("yes", ()), " yes ") == {"exact": 1.0, "yes": 1.0}
    assert grade(example("no", ()), "yes") == {"exact": 0.0, "no": 0.0}


@pytest.mark.parametrize(
    ("answer", "exact", "box"),
    [
        ("[0, 0, 60, 60]", 1.0, 1.0),
        ("[20, 0, 80, 60]", 0.0, 1.0),  # 40 of 80 columns
        ("[21, 0, 81, 60]", 0.0, 0.0),  # 39 of 81
        ("nowhere", 0.0, 0.0),
    ],
)
def test_a_box_is_right_from_half_an_overlap_on(answer, exact, box):
    assert grade(example("[0, 0, 60, 60]", ()), answer) == {"exact": exact, "box": box}


def test_toys_are_counted_in_the_scene_or_else_among_the_introduced():
    def counted(task):
        made = [TASKS[task](f"{i}", "val", random.Random(i), 1.0) for i in range(60)]
        return [(count_toys(one), len(one.query.beings), len(one.references)) for one in made]

    for task, least, most in (("describe_scene", 1, 7), ("is_there", 1, 5), ("locate", 1, 5)):
        counts = {count for count, _, _ in counted(task)}
        assert counts == set(range(least, most + 1))
        assert all(count == beings for count, beings, _ in counted(task))
    assert all(count == references for count, _, references in counted("who"))


@pytest.mark.parametrize("task", TASKS)
def test_every_target_is_right_in_all_parts(task):
    for i in range(20):
        made = TASKS[task](f"{task}/{i}", "val", random.Random(f"{task}/{i}"), 1.0)
        assert set(grade(made, made.target).values()) == {1.0}
