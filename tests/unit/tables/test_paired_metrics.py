import random
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.capscore import CapScore
from repic.metrics.captions.cider_r import CiderR
from repic.metrics.captions.copying import AgainstInfo, Copied
from repic.metrics.captions.diversity import Distinct, Length, SelfBleu
from repic.metrics.captions.metric import CaptionMetric, Captions, Metric, ValuesOf, means
from repic.metrics.captions.rouge import RougeL
from repic.metrics.column import ScoreColumn
from repic.metrics.statistics import exchange_p_values
from repic.metrics.suite import MetricSuite
from repic.tables.ablation import ablation
from repic.tables.columns import ALL, MetricColumn
from repic.tables.differences import differences
from repic.tables.layouts import caption_tables
from repic.tables.paired import NOT_MEASURED, OF_ANOTHER, OF_THE_WHOLE, Term
from repic.tables.runs import Run
from repic.toybox.grammar import parse_caption, unread_clauses
from repic.types import Prediction
from tests.scores import column_scores, corpus, read_captions
from tests.unit.tables.saved import compare, save_run

ACC = MetricColumn("acc@1", "", "accuracy", "1")


def suite(*chosen: str) -> MetricSuite:
    scorers = {
        "cider_r": CiderR(), "bleu": Bleu(), "rouge_l": RougeL(), "length": Length(),
        "copied": Copied(), "copy_bleu": AgainstInfo(Bleu()), "self_bleu": SelfBleu(),
        "distinct": Distinct(), "capscore": CapScore(parser=parse_caption, unread=unread_clauses),
    }  # fmt: skip
    return MetricSuite(
        counts=[1, 2], captions=chosen or tuple(scorers), tokenizer="words", scorers=scorers,
        bootstrap_samples=20, confidence=0.95, seed=0,
    )  # fmt: skip


WORDS = "a the red blue bear cat sits stands here there on at beach".split()


def toys(phase: str, seed: int, number: int = 12, readable: bool = False) -> list[Prediction]:
    """Captions at random, near their references, at one and at two concepts."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(2 * number)]
    found = []
    for i, text in enumerate(texts):
        other = random.Random(i)
        answers = [" ".join(other.choices(WORDS, k=8)) for _ in range(2)]
        if readable:
            answers = ["A red bear is on the left."]
        near = f"{answers[0][: rng.randint(0, 20)]} {text}"
        count = 1 + i % 2
        found.append(
            Prediction(
                id=f"test/{i}", phase=phase, task="caption", num_concepts=count, prompt="Who?",
                images=(f"test/{count}/{i // 4}/scene",), caption=near, answers=tuple(answers),
                present=(), pool=(), rewards={}, finished=True, infos=(f"it is a {answers[-1]}",),
            )
        )  # fmt: skip
    return found


def saved_toys(folder: Path, **more: int) -> tuple[Run, list[Prediction]]:
    captions = [*toys("sft", 1, **more), *toys("grpo", 2, **more)]
    return save_run(folder, captions, suite=suite()), captions


def total(name: str, metric: CaptionMetric, captions: Sequence[Prediction]) -> float:
    """A metric of captions of one number of concepts, from nothing but the texts."""
    texts, answers = [p.caption for p in captions], [p.answers for p in captions]
    return corpus(metric, read_captions(texts, answers, [p.infos for p in captions]))[name]


PAIRED = ("cider_r", "bleu_1", "bleu_4", "rouge_l", "words", "copied", "copy_bleu_1")


def test_caption_metrics_are_paired_and_differ_as_the_summaries_do(tmp_path: Path) -> None:
    run, _ = saved_toys(tmp_path / "run")
    comparison = compare()
    sft, rl = ablation([run]).rows
    for name in PAIRED:
        then = [run.metrics[phase][ALL][name] for phase in ("grpo", "sft")]
        found = comparison.difference(rl, sft, MetricColumn(name, "", name, ALL))
        assert found.mean == pytest.approx(then[0] - then[1], abs=1e-9)
        assert found.low <= found.mean <= found.high
        assert 0 < found.p_value <= 1
    assert comparison.unpaired == {}
    sum_of = (
        Term(1, rl, MetricColumn("", "", "bleu_1", ALL)),
        Term(-1, sft, MetricColumn("", "", "words", "1")),
    )
    expected = run.metrics["grpo"][ALL]["bleu_1"] - run.metrics["sft"]["1"]["words"]
    assert comparison.contrast(sum_of).mean == pytest.approx(expected)


def test_exchanged_captions_are_scored_as_if_they_had_been_the_models_own(tmp_path: Path) -> None:
    """The p-value of BLEU from all exchanges of the four images' captions, each scored anew."""
    run, captions = saved_toys(tmp_path / "run", number=8)
    sft, rl = ablation([run]).rows
    found = compare(16).difference(rl, sft, MetricColumn("B-4", "", "bleu_4", "1"))
    pairs = [[p for p in captions if p.phase == x and p.num_concepts == 1] for x in ("sft", "grpo")]
    images = sorted({p.images[-1] for p in pairs[0]})
    assert len(images) == 4
    values = []
    for way in product([False, True], repeat=len(images)):
        moves = dict(zip(images, way, strict=True))
        ours, theirs = (
            [(a, b)[moves[a.images[-1]]] for a, b in zip(x, y, strict=True)]
            for x, y in (pairs, pairs[::-1])
        )
        values.append(total("bleu_4", Bleu(), theirs) - total("bleu_4", Bleu(), ours))
    assert found.mean == pytest.approx(values[0])
    assert found.p_value == sum(abs(v) >= abs(values[0]) - 1e-9 for v in values) / 16


def test_claims_are_paired_where_the_grammar_reads_the_references(tmp_path: Path) -> None:
    run, _ = saved_toys(tmp_path / "run", readable=True)
    sft, rl = ablation([run]).rows
    column = MetricColumn("", "", "b_capscore", ALL)
    then = [run.metrics[phase][ALL]["b_capscore"] for phase in ("grpo", "sft")]
    assert compare().difference(rl, sft, column).mean == pytest.approx(then[0] - then[1])


class Charm(Metric):
    """One's own metric, outside the package."""

    def __init__(self, values: ValuesOf = means) -> None:
        super().__init__(ScoreColumn("charm", "charm", "down"), values=values)

    def statistics(self, captions: Captions) -> np.ndarray:
        return self.rows(np.array([float(len(text)) for text in captions.texts]))


def squares(sums: np.ndarray) -> np.ndarray:
    return means(sums) ** 2


def with_charm(values: ValuesOf) -> MetricSuite:
    return MetricSuite(
        counts=[1, 2], captions=["charm"], tokenizer="words", scorers={"charm": Charm(values)},
        bootstrap_samples=20, confidence=0.95, seed=0,
    )  # fmt: skip


def test_ones_own_metric_stands_in_a_table_with_its_label_and_direction_and_is_paired(
    tmp_path: Path,
) -> None:
    captions = [*toys("sft", 1), *toys("grpo", 2)]
    run = save_run(tmp_path / "run", captions, suite=with_charm(means))
    table = caption_tables([run])[-1]
    (charm,) = table.columns
    assert (table.title, charm.label, charm.direction) == (
        "Captions further metrics",
        "charm",
        "down",
    )
    lowest = min(table.rows, key=lambda row: row.cells[0].mean)
    assert [table.is_best(row, charm) for row in table.rows] == [r is lowest for r in table.rows]
    assert "Bold: the lowest value" in table.note
    assert differences(table, "SFT", compare()).rows[0].cells[0] is not None
    # What is no mean is computed by a function that a file of scores cannot name.
    other = save_run(tmp_path / "other", captions, suite=with_charm(squares))
    found = differences(caption_tables([other])[-1], "SFT", compare())
    assert found.rows[0].cells == (None,)
    assert found.note.endswith(f"Not paired: charm ({OF_ANOTHER}).")


def test_what_is_not_paired_is_absent_and_the_note_says_why(tmp_path: Path) -> None:
    run, _ = saved_toys(tmp_path / "run")
    for phase in ("sft", "grpo"):
        run.metrics[phase][ALL]["bert_score"] = 90.0
    names = ("bleu_1", "self_bleu", "distinct_1", "bert_score")
    table = ablation([run], [MetricColumn(name, "", name, ALL) for name in names])
    found = differences(table, "SFT", compare())
    assert [e is not None for e in found.rows[0].cells] == [True, *[False] * 3]
    assert found.note.endswith(
        f" Not paired: self_bleu, distinct_1 ({OF_THE_WHOLE}); bert_score ({NOT_MEASURED})."
    )
    assert "Not paired" not in differences(ablation([run], [ACC]), "SFT", compare()).note


def captions_of_equal_models(*, trials: int, scenes: int) -> list[list[Captions]]:
    """What two models that are one say, several times."""
    rng = random.Random(0)
    vocabulary = [f"w{i}" for i in range(400)]
    frequency = [1 / (i + 1) for i in range(400)]
    return [
        [
            read_captions(
                [" ".join(rng.choices(vocabulary, frequency, k=12)) for _ in range(scenes)],
                [["w0 w1 w2 w3 w4 w5 w6 w7 w8 w9"]] * scenes,
            )
            for _ in range(2)
        ]
        for _ in range(trials)
    ]


def rejections(metric: CaptionMetric, name: str, told: Sequence[Sequence[Captions]]) -> float:
    """How often two models that are one differ at the 5 % level, if captions change hands."""
    found = 0
    for pair in told:
        rows = [metric.statistics(captions) for captions in pair]
        of = partial(column_scores, metric)
        p = exchange_p_values(*rows, of, num_samples=200, seed=0)[name]
        found += p <= 0.05
    return found / len(told)


def test_equal_models_would_differ_in_what_is_not_paired_and_do_not_in_what_is() -> None:
    assert SelfBleu().is_of_the_whole
    assert not Bleu().is_of_the_whole
    told = captions_of_equal_models(trials=100, scenes=40)
    assert rejections(SelfBleu(), "self_bleu", told) > 0.12
    assert rejections(Bleu(), "bleu_1", told) < 0.11  # 5 of 100, and 2.6 standard errors
