from dataclasses import replace

import numpy as np
import pytest

from repic.metrics.captions.metric import Captions
from repic.metrics.cider import cider_scores, words
from repic.metrics.naming import KnownNames, Recognition
from repic.metrics.paper_names import variant_for
from repic.metrics.rescoring import CaptionRecord, score_captions
from repic.metrics.statistics import Score, bootstrap_intervals, cluster_sums
from tests.scores import read_captions
from tests.unit.metrics.hand import FILES, PAPER, ROBUST


def records_of(rows: list) -> list[CaptionRecord]:
    return [CaptionRecord(f"row {i}", r[0], tuple(r[1]), r[2]) for i, r in enumerate(rows)]


def read(records: list[CaptionRecord]) -> Captions:
    references, infos = [r.references for r in records], [r.infos for r in records]
    about = {"keys": [r.key for r in records], "pools": [r.pool for r in records]}
    return read_captions([r.text for r in records], references, infos, **about)


def score(records: list[CaptionRecord], protocol: str, **changes) -> Score:
    settings = {
        "protocol": protocol,
        "variant": variant_for([r.targets for r in records]),
        "known": KnownNames(),
        "num_samples": 0,
        "confidence": 0.95,
        "seed": 0,
    }
    return score_captions(read(records), **{**settings, **changes})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("protocol", "expected"), [("paper", PAPER), ("robust", ROBUST)])
def test_scores_worked_by_hand(name: str, protocol: str, expected: dict) -> None:
    values = score(records_of(FILES[name]), protocol).values
    found = {metric: values[metric] for metric in expected[name]}
    assert found == pytest.approx(expected[name])
    assert "cider" not in values


def test_who_is_in_the_picture_is_not_absent() -> None:
    """The one who is a target of another caption of the same image is no error there."""
    same = [replace(record, image="g.jpg") for record in records_of(FILES["four"])]
    values = score(same, "robust").values
    assert (values["precision"], values["recall"]) == pytest.approx((100, 50))


def test_the_pool_is_the_prompts_where_it_is_known() -> None:
    one = CaptionRecord("row 1", "1.jpg", ("<bo>",), "bo and mi", pool=("<bo>", "<lu>"))
    two = CaptionRecord("row 2", "2.jpg", ("<mi>",), "lu", pool=("<mi>", "<lu>"))
    counts = Recognition().statistics(read([one, two]))
    assert counts.tolist() == [[1, 1, 0, 0, 1], [0, 0, 1, 1, 1]]
    known = KnownNames({"<mi>": ["Momo"], "<bo>": []})
    counts = Recognition(known).statistics(read([replace(one, caption="bo and Momo")]))
    assert counts.tolist() == [[0, 1, 1, 0, 1]]
    nobody = replace(one, caption="bo", targets=(), pool=())
    assert Recognition().statistics(read([nobody, two]))[0].tolist() == [1, 0, 0, 0, 1]


def test_cider_is_that_of_the_judge_and_nan_where_there_is_none() -> None:
    texts = ["a red bear sits here", "a blue cat lies there", "a dog"]
    references = [("a red bear is here",), ("the blue cat lies there", "a cat"), ("a big dog",)]
    records = [
        CaptionRecord(f"row {i}", f"{i}.jpg", ("<bo>",), f"{text}</s>", references=refs)
        for i, (text, refs) in enumerate(zip(texts, references, strict=True))
    ]
    expected = cider_scores(words(texts), [words(group) for group in references])
    assert score(records, "paper").values["cider"] == pytest.approx(expected.mean())
    assert "cider" not in score(records[:1], "paper").values
    lacking = [replace(records[0], references=()), *records[1:]]
    assert "cider" not in score(lacking, "paper").values


def test_intervals_are_over_images() -> None:
    """Five prompts an image say no more than one; five images do."""
    rows = FILES["two"] * 5
    alike = score(records_of(rows), "paper", num_samples=300)
    once = score(records_of(FILES["two"]), "paper", num_samples=300)
    apart = [replace(r, image=f"{i}") for i, r in enumerate(records_of(rows))]
    many = score(apart, "paper", num_samples=300)
    for metric in ("precision", "recall", "f1", "accuracy", "words"):
        assert alike.intervals[metric] == pytest.approx(once.intervals[metric])
        low, high = once.intervals[metric]
        narrow_low, narrow_high = many.intervals[metric]
        assert high - low > 1.5 * (narrow_high - narrow_low)
        assert low <= once.values[metric] <= high


def test_one_image_has_no_interval() -> None:
    records = [replace(record, image="x") for record in records_of(FILES["two"])]
    assert score(records, "robust", num_samples=300).intervals == {}


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 1))
    sums = cluster_sums(np.hstack([values, np.ones((400, 1))]), range(400))
    found = bootstrap_intervals(
        sums, lambda s: {"mean": s[:, 0] / s[:, 1]}, num_samples=2000, confidence=0.95, seed=1
    )
    error = values.std() / 20
    assert found["mean"] == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.01
    )


@pytest.mark.parametrize(
    "rows",
    [
        [
            ("<小白>", "小白在草地上睡觉。"),
            ("<小白>", "照片里，小白和一只猫在玩。"),
            ("<小白>", "<小白>在草地上。"),
        ],
        [
            ("<O'Brien>", "O’Brien waves from a boat."),
            ("<O'Brien>", "In the boat sits O’Brien, smiling."),
            ("<D'Artagnan>", "D’Artagnan’s hat is red."),
            ("<O'Brien>", "O'Brien waves from a boat."),
        ],
    ],
)
def test_names_that_a_reader_sees_are_all_found(rows: list[tuple[str, str]]) -> None:
    records = records_of([[f"{i}.jpg", [name], text] for i, (name, text) in enumerate(rows)])
    values = score(records, "robust").values
    assert (values["recall"], values["accuracy"], values["precision"]) == (100, 100, 100)
