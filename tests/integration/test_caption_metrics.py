"""A run's caption metrics: in its summary, its tables and its page; and wrong demonstrations."""

import math
from pathlib import Path

import pytest

from repic.metrics.caption_files import read_predictions
from repic.page.run_page import run_tables
from repic.tables.runs import read_run
from tests.integration.small import compose_run, start


@pytest.fixture(scope="module")
def runs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    outputs = tmp_path_factory.mktemp("outputs")
    given = ("method=name_everybody", "reward=none", "metrics=full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.which", lambda name: None)  # no Java
        return {
            kind: start(model, outputs, *given, f"phase.evaluate.demonstrations={kind}", name=kind)
            for kind in ("right", "wrong_infos", "wrong_images")
        }


def test_they_are_in_the_summary_and_shown(runs: dict[str, Path]) -> None:
    run = read_run(runs["right"])
    for cell in run.metrics["name_everybody"].values():
        for name in ("cider_r", "bleu_1", "rouge_l", "distinct_2", "words"):
            value = cell[name]
            assert isinstance(value, float)
            assert not math.isnan(value)
        assert "rouge_l_ci" in cell
        assert "meteor" not in cell
    # Which references have an info is drawn; of all scenes some have.
    assert isinstance(run.metrics["name_everybody"]["all"]["copied"], float)
    lacking = ["meteor", "spice", "bert_score", "clip_score"]
    assert list(run.left_out) == [*lacking, "copy_meteor", "copy_spice", "copy_bert_score"]
    titles = [table.title for table in run_tables(run)]
    assert "Captions against references: n-grams" in titles
    page = (runs["right"] / "report.html").read_text()
    assert "ROUGE-L" in page
    assert "Left out: meteor (it needs Java" in page


def test_wrong_infos_stand_in_the_prompt_and_are_what_copying_is_measured_by(runs) -> None:
    right, wrong = (
        {p.id: p for p in read_predictions(runs[kind])} for kind in ("right", "wrong_infos")
    )
    assert list(right) == list(wrong)
    for key, prediction in right.items():
        lied = wrong[key]
        assert (lied.pool, lied.present, lied.images) == (
            prediction.pool,
            prediction.present,
            prediction.images,
        )
        for info in (*prediction.infos, *lied.infos):
            assert info in (prediction.prompt + lied.prompt)
    assert any(wrong[key].infos != right[key].infos for key in right)


def test_wrong_images_are_other_peoples(runs: dict[str, Path]) -> None:
    right, wrong = (read_predictions(runs[kind]) for kind in ("right", "wrong_images"))
    for there, here in zip(right, wrong, strict=True):
        assert there.images[-1] == here.images[-1]
        assert all(a != b for a, b in zip(there.images[:-1], here.images[:-1], strict=True))
    assert any(len(prediction.images) > 1 for prediction in right)


def test_a_kind_of_demonstrations_that_is_none(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"phase\.evaluate\.demonstrations: 'wrong' is not right, wrong_images"
    ):
        start(model, tmp_path, "reward=none", "phase.evaluate.demonstrations=wrong")


def test_full_is_default_and_more() -> None:
    options = ("default", "judged", "full")
    default, judged, full = (compose_run(f"metrics={option}")[0].metrics for option in options)
    assert default.captions == judged.captions
    assert full.captions == "all"
    assert {*default.captions, *judged.also} - {"cider"} <= set(full.scorers)
    assert default.scorers == judged.scorers == full.scorers
