"""How answers to yes-or-no questions count, by hand."""

import math

import pytest

from repic.captioners.captioner import Caption
from repic.phases.recognition import Recognition, accuracies
from repic.types import Example


def question(kind: str) -> Example:
    target = "yes" if kind == "positive" else "no"
    return Example("", f"recognize/{kind}", (), None, "?", target, (target,), (), 1)


ASKED = ["positive", "positive", "positive", "positive", "lookalike", "lookalike", "random"]
SAID = ["Yes.", "yes", "No, that is another.", "A bear.", "No.", "Yes!", "Hmm"]


@pytest.mark.parametrize(
    ("drop_others", "expected"),
    [
        # yes: 2 of 4; no: 1 of 3
        (False, {"positive": 50.0, "lookalike": 50.0, "random": 0.0, "weighted": 125 / 3}),
        # yes: 2 of 3; no: 1 of 2
        (True, {"positive": 200 / 3, "lookalike": 50.0, "random": math.nan, "weighted": 175 / 3}),
    ],
)
def test_accuracy_by_kind_and_weighted(drop_others: bool, expected: dict[str, float]) -> None:
    examples = [question(kind) for kind in ASKED]
    answers = [Caption(text, True) for text in SAID]
    found = accuracies(examples, answers, drop_others=drop_others)
    assert found == pytest.approx({**expected, "neither": 200 / 7}, nan_ok=True)


def test_the_table_has_a_row_for_whoever_answers() -> None:
    found = {"a": {"positive": 50.0, "neither": 0.0}, "b": None}
    asked = Recognition(questions=[], batch_size=1, drop_others=False)
    table = asked.table(found, {"a": "first", "b": "second"})
    assert [row.label for row in table.rows] == ["first"]
    assert table.rows[0].cells == (50.0, 0.0)
