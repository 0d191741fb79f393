import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.copying import Copied
from repic.metrics.captions.diversity import Length
from repic.metrics.cider import cider_scores, words
from repic.metrics.kept import all_scores
from repic.metrics.suite import STANDARD, MetricSuite
from repic.phases.evaluate import brief
from repic.types import Prediction

POOL = ("<momi>", "<tavo>", "<lidu>")
ANSWERS = {
    "<momi>": ("a red bear, <momi>, sits", "here sits a red bear, <momi>"),
    "<tavo>": ("a blue cat, <tavo>, stands", "<tavo> the blue cat"),
    "<lidu>": ("two grey owls", "here is <lidu>"),
}


def prediction(caption: str, *present: str, phase: str = "sft", answers: bool = True) -> Prediction:
    return Prediction(
        id=f"scene/{caption}",
        phase=phase,
        task="caption",
        num_concepts=len(present),
        prompt="",
        images=(),
        caption=caption,
        answers=sum((ANSWERS[name] for name in present), ()) if answers else (),
        present=present,
        pool=POOL,
    )


def apart(group: list[Prediction]) -> list[Prediction]:
    """Each caption of a picture of its own."""
    return [replace(p, id=str(i), images=(f"{i}",)) for i, p in enumerate(group)]


DRAWS = {"bootstrap_samples": 0, "confidence": 0.95, "seed": 0}
NO_OTHERS = {"captions": [], "tokenizer": "words", "scorers": {}}


def suite(samples: int = 200) -> MetricSuite:
    return MetricSuite(
        counts=[1, 2], bootstrap_samples=samples, confidence=0.95, seed=0, **NO_OTHERS
    )


ONE = [
    prediction("<momi>, a red bear, sits", "<momi>"),  # right
    prediction("<momi> the blue cat", "<tavo>"),  # a wrong name, one missed
    prediction("<lidu> and <momi>", "<lidu>"),  # one too many
    prediction("two owls", "<lidu>"),  # missed
]
TWO = [
    prediction("a red bear, <momi>, a blue cat, <tavo>", "<momi>", "<tavo>"),
    prediction("<lidu> and a red bear", "<momi>", "<lidu>"),
]


def test_cells_worked_by_hand() -> None:
    cells = suite(0)(ONE + TWO)
    assert list(cells) == ["1", "2", "all"]
    by_hand = {
        "1": (25, 100 * 2 / 4, 100 * 2 / 4, 50, 4),
        "2": (50, 100, 75, 100 * 6 / 7, 2),
        "all": (100 * 2 / 6, 100 * 5 / 7, 100 * 5 / 8, 100 * 10 / 15, 6),
    }
    for name, (accuracy, precision, recall, f1, num_examples) in by_hand.items():
        cell = cells[name]
        assert cell["accuracy"] == pytest.approx(accuracy)
        assert cell["precision"] == pytest.approx(precision)
        assert cell["recall"] == pytest.approx(recall)
        assert cell["f1"] == pytest.approx(f1)
        assert cell["num_examples"] == num_examples
        assert cell["overall"] == pytest.approx((cell["accuracy"] + cell["cider"]) / 2)


def cider_of(group: list[Prediction]) -> np.ndarray:
    return cider_scores(words([p.caption for p in group]), [words(p.answers) for p in group])


def test_cider_has_the_document_frequencies_of_its_own_count() -> None:
    cells = suite(0)(ONE + TWO)
    scores = {name: cider_of(group) for name, group in (("1", ONE), ("2", TWO))}
    assert cells["1"]["cider"] == pytest.approx(scores["1"].mean())
    assert cells["2"]["cider"] == pytest.approx(scores["2"].mean())
    both = np.concatenate(list(scores.values()))
    assert cells["all"]["cider"] == pytest.approx(both.mean())
    # As one collection the references of both groups would count, which is something else.
    assert cider_of(ONE + TWO).mean() != pytest.approx(cells["all"]["cider"])


def test_intervals_hold_the_estimate_and_shrink_with_the_number_of_examples() -> None:
    few, many = (suite(1000)(apart(ONE * number))["1"] for number in (10, 160))
    for name in ("accuracy", "precision", "recall", "f1", "cider", "overall"):
        low, high = few[f"{name}_ci"]
        assert low < few[name] < high
        narrow_low, narrow_high = many[f"{name}_ci"]
        # 16 times the examples, a quarter of the width.
        assert (narrow_high - narrow_low) / (high - low) == pytest.approx(0.25, rel=0.3)


def test_accuracy_interval_has_the_width_of_the_binomial() -> None:
    low, high = suite(4000)(apart(ONE * 50))["1"]["accuracy_ci"]
    expected = 2 * 1.96 * 100 * math.sqrt(0.25 * 0.75 / 200)
    assert high - low == pytest.approx(expected, rel=0.06)
    assert low < 25 < high


def test_confidence_and_seed_matter_and_repeating_does_not() -> None:
    kwargs = {"counts": [1], "bootstrap_samples": 500, **NO_OTHERS}
    nine = apart(ONE * 9)
    wide = MetricSuite(**kwargs, confidence=0.99, seed=0)(nine)["1"]["f1_ci"]
    narrow = MetricSuite(**kwargs, confidence=0.5, seed=0)(nine)["1"]["f1_ci"]
    other = MetricSuite(**kwargs, confidence=0.99, seed=1)(nine)["1"]["f1_ci"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert other != wide == MetricSuite(**kwargs, confidence=0.99, seed=0)(nine)["1"]["f1_ci"]


def test_without_samples_there_are_no_intervals() -> None:
    assert not [name for name in suite(0)(ONE)["1"] if name.endswith("_ci")]


def test_captions_of_one_picture_are_drawn_together() -> None:
    """Whoever asks four times about a picture knows no more of other pictures."""
    once = suite(1000)(apart(ONE))["1"]
    often = suite(1000)(apart(ONE) * 5)["1"]
    for name in ("accuracy", "precision", "recall", "f1"):
        assert often[f"{name}_ci"] == pytest.approx(once[f"{name}_ci"])
    assert (
        suite(1000)([replace(p, images=("one",)) for p in ONE])["1"]
        .keys()
        .isdisjoint({"accuracy_ci", "cider_ci"})
    )


def test_photos_without_references_have_recognition_only() -> None:
    group = [prediction("<momi>", "<momi>", answers=False) for _ in range(3)]
    cell = suite()(group)["1"]
    assert cell["accuracy"] == 100
    assert cell.keys().isdisjoint({"cider", "overall", "cider_ci", "overall_ci"})


def test_one_scene_has_no_cider_does_not_spoil_all_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells = suite(0)([*ONE, TWO[0]])
        assert (
            brief(suite()([TWO[0]])["all"])
            == "accuracy 100.0  precision 100.0  recall 100.0  f1 100.0"
        )
    assert "cider" not in cells["2"]
    assert cells["all"]["cider"] == pytest.approx(cells["1"]["cider"])


def test_nothing_to_judge() -> None:
    assert suite()([]) == {}


def test_what_was_measured_of_each_caption_adds_up_to_the_cells() -> None:
    found = suite()
    scores = found.measure(TWO + ONE)
    assert scores.keys == tuple((p.id, p.num_concepts) for p in ONE + TWO)
    cells = found.cells(scores)
    for count, cell in cells.items():
        mask = scores.of_count(count)
        sums = np.hstack([m.rows[mask] for m in scores.metrics.values()]).sum(axis=0)[None]
        for name, value in all_scores(scores.metrics, sums).items():
            assert value.item() == pytest.approx(cell[name])
    assert {"paper_f1", "f1", "overall"} <= cells["1"].keys()


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"prediction scene/x: .*<zaza>"):
        suite()([Prediction("scene/x", "sft", "caption", 1, "", (), "", (), ("<zaza>",), POOL)])


def test_every_value_of_the_configuration_is_an_argument() -> None:
    path = Path(__file__).parents[3] / "repic/conf/metrics/default.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values.pop("_target_") == "repic.metrics.suite.MetricSuite"
    values["scorers"] = {}
    values["captions"] = ["cider"]  # the others are composed in tests/integration
    assert MetricSuite(**values).counts == (1, 2, 3, 4, 5)


def test_all_metrics_are_those_with_columns_of_their_own_and_others_may_be_added() -> None:
    scorers = {"bleu": Bleu(), "again": Bleu(), "length": Length(), "copied": Copied()}
    settings = {"counts": [1], "tokenizer": "words", "scorers": scorers} | DRAWS
    whole = MetricSuite(captions="all", **settings)
    assert list(whole.scorer.metrics) == [*STANDARD, "bleu", "length", "copied"]
    more = MetricSuite(captions=["cider", "length"], also=["again"], **settings)
    assert list(more.scorer.metrics) == [*STANDARD, "length", "again"]
