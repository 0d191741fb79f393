"""Systems that are told of friends in other ways than by references, on one bench."""

import logging
from pathlib import Path

import pytest

from repic.metrics.caption_files import read_predictions
from tests.integration.small import start, summary_of

CAST = ("method=zero_shot", "data=toybox_cast", "reward=none", "phase.evaluate.per_count=2")
FORMS = "no_references,as_text,montage"


def test_three_forms_of_zero_shot_are_rows_like_others(model: Path, tmp_path: Path) -> None:
    given = (f"captioner=[name_everybody,{FORMS}]", f"method.evaluated=[base,{FORMS}]")
    questions = ("task=recognize", "data.recognize.per_kind=2")
    folder = start(model, tmp_path, *CAST, *given, *questions)
    summary = summary_of(folder)
    assert list(summary["metrics"]) == ["base", *FORMS.split(",")]
    assert summary["captioners"]["montage"]["label"] == "zero-shot, montage"
    tokens = {name: c["cost"]["prompt_tokens"] for name, c in summary["captioners"].items()}
    assert tokens["no_references"] == 0
    assert min(tokens["base"], tokens["as_text"]) > 0
    assert set(summary["recognition"]["base"]) == {
        *("positive", "lookalike", "random", "absent", "weighted", "neither")
    }
    assert "zero-shot, montage" in (folder / "recognition.md").read_text()
    by_example: dict[str, set[tuple[str, ...]]] = {}
    for prediction in read_predictions(folder):  # everybody is asked about the same scenes
        by_example.setdefault(prediction.phase, set()).add((prediction.id, *prediction.present))
    assert len({frozenset(asked) for asked in by_example.values()}) == 1


def test_who_answers_no_questions_is_left_out_with_a_word(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = ("method.evaluated=[name_everybody]", "task=recognize", "data.recognize.per_kind=1")
    with caplog.at_level(logging.INFO):
        folder = start(model, tmp_path, *CAST, *given)
    assert "name_everybody answers no questions" in caplog.text
    assert summary_of(folder)["recognition"] == {"name_everybody": None}
    with pytest.raises(ValueError, match="has no yes-or-no questions; use data=toybox_cast"):
        start(model, tmp_path, "method=zero_shot", "task=recognize", name="elsewhere")
