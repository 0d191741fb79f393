"""Names at the beings who have them: by hand, and by a judge who pairs sentences word for word."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.captions.bound import BoundNames
from repic.toybox.grammar import parse_caption, unread_clauses
from repic.types import Scene
from tests.scores import corpus, read_captions
from tests.unit.metrics.scenes import renamed, say, scenes

TRUTH = "A red bear, <bo>. A blue bear. A green cat, <mi>."


def scored(*captions: str, truth: str = TRUTH) -> list[float]:
    metric = BoundNames(parser=parse_caption, unread=unread_clauses)
    found = corpus(metric, read_captions(captions, [(truth,)] * len(captions)))
    assert list(found) == ["bound_accuracy", "bound_precision", "bound_recall"]
    return list(found.values())


@pytest.mark.parametrize(
    ("caption", "accuracy", "precision", "recall"),
    [
        (TRUTH, 100, 100, 100),
        ("A green cat, <mi>. A red bear, <bo>.", 100, 100, 100),  # others may be left out
        ("A red bear, <bo>. A blue bear, <bo>. A green cat, <mi>.", 0, 200 / 3, 100),
        ("A red bear. A blue bear, <bo>. A green cat, <mi>.", 0, 50, 50),
        ("A red bear, <mi>. A blue bear. A green cat, <bo>.", 0, 0, 0),
        ("A red bear, <bo>. A green cat.", 0, 100, 50),
        ("A red bear, <bo>. A green cat, <mi>. A blue bear, <zu>.", 0, 200 / 3, 100),
        ("A red bear, <bo>. A red bear, <bo>. A green cat, <mi>.", 0, 200 / 3, 100),  # the 2nd bear
        ("A red bear, <bo>. A green cat, <mi>. A green cat, <mi>.", 100, 100, 100),  # told again
        ("A red bear, <bo>. A green cat, <mi>. <zu>.", 0, 200 / 3, 100),  # at no description
        ("<bo> <mi>.", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_columns_by_hand(caption: str, accuracy: float, precision: float, recall: float) -> None:
    assert scored(caption) == pytest.approx([accuracy, precision, recall])


def test_names_are_added_up_over_captions() -> None:
    assert scored(TRUTH, "A red bear, <mi>.") == pytest.approx([50, 200 / 3, 50])


def test_nothing_is_said_of_references_that_are_not_read() -> None:
    assert scored(TRUTH, truth="Bo and Mi play.") == pytest.approx([float("nan")] * 3, nan_ok=True)


@given(st.data())
def test_whoever_is_told_as_they_look_is_known_by_it(data: st.DataObject) -> None:
    """With whole descriptions, all of which differ, a sentence is somebody's or nobody's."""
    truth = data.draw(scenes())
    names = st.sampled_from(["<bo>", "<mi>", "<zu>", "<ta>", None])
    told = [replace(mention, name=data.draw(names)) for mention in truth.mentions]
    caption = say(Scene(tuple(told)))

    def named(text: str) -> dict[str, str]:
        found = (re.search(r", (<\w+>)", one) for one in text.split(". "))
        bare = [re.sub(r", <\w+>,?", "", one).strip(". ") for one in text.split(". ")]
        return {one: name[1] for one, name in zip(bare, found, strict=True) if name}

    due, said = named(say(replace(truth, background=None))), named(caption)
    right = len(due.items() & said.items())
    accuracy, precision, recall = scored(caption, truth=say(truth))
    assert accuracy == 100 * (due == said)
    assert precision == pytest.approx(100 * right / len(said) if said else 0)
    if due:
        assert recall == pytest.approx(100 * right / len(due))


@given(scenes())
def test_a_name_of_nobody_is_never_right(truth: Scene) -> None:
    _, precision, recall = scored(say(renamed(truth, "<nobody>")), truth=say(truth))
    assert precision == 0
    assert not recall > 0
