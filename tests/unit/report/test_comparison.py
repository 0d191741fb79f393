import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.capscore import CapScore
from repic.metrics.captions.cider_r import CiderR
from repic.metrics.captions.copying import AgainstInfo, Copied
from repic.metrics.captions.diversity import Distinct, Length, SelfBleu
from repic.metrics.captions.meteor import Meteor
from repic.metrics.captions.metric import CaptionMetric, Captions, MetricFailed
from repic.metrics.captions.rouge import RougeL
from repic.metrics.cider import words
from repic.metrics.suite import MetricSuite, by_phase
from repic.report.comparison import Comparison, Term, base_of, common_seeds, differences
from repic.report.forms import tables_of
from repic.report.runs import Run
from repic.report.tables import ALL, Column, Row, Table, ablation
from repic.report.weighting import METRIC, with_weighted_rewards
from repic.toybox.grammar import parse_caption, unread_clauses
from repic.types import Prediction
from tests.unit.report.saved import predictions, save_run

ACC = Column("acc@1", "", "accuracy", "1")
OTHER = Column("BLEU", "", "bleu_4", ALL)


def compare(samples: int = 300, **options: dict) -> Comparison:
    return Comparison(num_samples=samples, seed=0, **options)


def run_of(folder: Path, *rights: tuple[str, Sequence[bool]], **options: object) -> Run:
    captions = [p for phase, right in rights for p in predictions(phase, right)]
    return save_run(folder, captions, **options)


WORSE, BETTER = [False] * 6 + [True] * 2, [True] * 6 + [True] * 2


def test_one_seed_pairs_captions_worked_by_hand(tmp_path: Path) -> None:
    """Six of eight scenes are right by RL alone: +75; two of 2^6 exchanges are as extreme."""
    run = run_of(tmp_path / "run", ("sft", WORSE), ("grpo", BETTER))
    sft, rl = ablation([run], columns=[ACC]).rows
    found = compare().difference(rl, sft, ACC)
    assert found.mean == 75
    assert found.p_value == 2 / 64
    assert found.num_seeds == 1
    assert 25 <= found.low < 75 < found.high <= 100
    back = compare().difference(sft, rl, ACC)
    assert (back.mean, back.low, back.high) == (-75, -found.high, -found.low)
    assert compare().difference(rl, rl, ACC).p_value == 1


def test_several_seeds_are_paired_by_seed_worked_by_hand(tmp_path: Path) -> None:
    """Gains of 50, 25 and 75: mean 50, error 25/sqrt(3), t(2) = 4.3027: 62.1."""
    wins = {0: 4, 1: 2, 2: 6}
    runs = [
        run_of(
            tmp_path / str(seed),
            ("sft", [False] * 8),
            ("grpo", [i < n for i in range(8)]),
            seed=seed,
        )
        for seed, n in wins.items()
    ]
    sft, rl = ablation(runs, columns=[ACC]).rows
    assert set(sft.runs) == {""}  # SFT is the same whatever the seed
    found = compare().difference(rl, sft, ACC)
    assert (found.mean, found.num_seeds) == (50, 3)
    assert found.high - 50 == pytest.approx(4.3027 * 25 / math.sqrt(3), abs=1e-3)
    # Captions are not needed for it.
    for run in runs:
        (run.folder / "predictions.jsonl").unlink()
    assert compare().difference(rl, sft, ACC) == found


def test_seeds_that_only_one_has_do_not_count(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path / f"{r}{s}", ("grpo", [i <= s + n for i in range(8)]),
               seed=s, choices={"reward": r})
        for r, n, seeds in (("quality", 0, (0, 1)), ("combined", 2, (1, 2, 3)))
        for s in seeds
    ]  # fmt: skip
    quality, combined = ablation(runs, columns=[ACC]).rows
    assert common_seeds([quality, combined]) == ["1"]
    found = compare().difference(combined, quality, ACC)
    assert (found.mean, found.num_seeds) == (25, 1)  # seed 1 alone: pairs of captions
    assert found.p_value == 0.5  # two of the four exchanges of two scenes
    assert common_seeds([]) == [""]


def test_a_seed_without_a_value_does_not_count(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path / str(s), ("sft", WORSE), ("grpo", [i < 4 + s for i in range(8)]), seed=s)
        for s in range(3)
    ]
    runs[2].metrics["grpo"]["1"]["accuracy"] = math.nan
    sft, rl = ablation(runs, columns=[ACC]).rows
    assert compare().difference(rl, sft, ACC).num_seeds == 2
    runs[0].metrics["grpo"]["1"]["accuracy"] = runs[1].metrics["grpo"]["1"]["accuracy"] = math.nan
    assert compare().difference(rl, sft, ACC) is None


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
    run = save_run(folder, captions)
    for phase, found in by_phase(captions).items():
        for count, cell in suite().captions(found, [None] * len(found)).items():
            cell = {k: tuple(v) if isinstance(v, list) else v for k, v in cell.items()}
            run.metrics[phase][count].update(cell)
    return run, captions


def total(name: str, metric: CaptionMetric, captions: Sequence[Prediction]) -> float:
    """A metric of captions of one number of concepts, from nothing but the texts."""
    read = Captions.read(
        [p.caption for p in captions],
        [p.answers for p in captions],
        [p.infos for p in captions],
        tokenize=words,
    )
    return metric.values(metric.statistics(read).sum(axis=0, keepdims=True))[name].item()


PAIRED = ("cider_r", "bleu_1", "bleu_4", "rouge_l", "words", "copied", "copy_bleu_1")


def test_caption_metrics_are_paired_and_differ_as_the_summaries_do(tmp_path: Path) -> None:
    run, _ = saved_toys(tmp_path / "run")
    comparison = compare()
    sft, rl = ablation([run]).rows
    for name in PAIRED:
        then = [run.metrics[phase][ALL][name] for phase in ("grpo", "sft")]
        found = comparison.difference(rl, sft, Column(name, "", name, ALL))
        assert found.mean == pytest.approx(then[0] - then[1], abs=1e-9)
        assert found.low <= found.mean <= found.high
        assert 0 < found.p_value <= 1
    assert comparison.unpaired == {}
    sum_of = Term(1, rl, Column("", "", "bleu_1", ALL)), Term(-1, sft, Column("", "", "words", "1"))
    expected = run.metrics["grpo"][ALL]["bleu_1"] - run.metrics["sft"]["1"]["words"]
    assert comparison.contrast(sum_of).mean == pytest.approx(expected)


def test_exchanged_captions_are_scored_as_if_they_had_been_the_models_own(tmp_path: Path) -> None:
    """The p-value of BLEU from all exchanges of the four images' captions, each scored anew."""
    run, captions = saved_toys(tmp_path / "run", number=8)
    sft, rl = ablation([run]).rows
    found = compare(16).difference(rl, sft, Column("B-4", "", "bleu_4", "1"))
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
    column = Column("", "", "b_capscore", ALL)
    then = [run.metrics[phase][ALL]["b_capscore"] for phase in ("grpo", "sft")]
    assert compare().difference(rl, sft, column).mean == pytest.approx(then[0] - then[1])


def test_what_captions_do_not_tell_is_absent_and_the_note_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = saved_toys(tmp_path / "run")
    for phase in ("sft", "grpo"):
        # A model's, a program's that is not here, and by somebody's own rules.
        run.metrics[phase][ALL].update(bert_score=90.0, meteor=20.0, rouge_l=20.0)
    monkeypatch.setattr("shutil.which", lambda name: None)
    names = ("bleu_1", "self_bleu", "distinct_1", "bert_score", "meteor", "rouge_l")
    table = ablation([run], columns=[Column(name, "", name, ALL) for name in names])
    found = differences(table, "SFT", compare())
    assert [e is not None for e in found.rows[0].estimates] == [True, *[False] * 5]
    assert found.note.endswith(
        " Not paired: self_bleu, distinct_1 (depends on all captions of a model together; several"
        " seeds tell); bert_score (captions alone do not tell it; several seeds do); meteor (it"
        " needs Java, and there is none here (Debian: apt-get install default-jre-headless));"
        " rouge_l (the summary's was made by another scorer than this)."
    )
    assert "Not paired" not in differences(ablation([run], columns=[ACC]), "SFT", compare()).note


def test_a_program_that_fails_leaves_its_metric_out(tmp_path: Path, monkeypatch) -> None:
    run, _ = saved_toys(tmp_path / "run")
    for phase in ("sft", "grpo"):
        run.metrics[phase][ALL]["meteor"] = 20.0

    def statistics(self: Meteor, captions: Captions) -> None:
        raise MetricFailed("its jar failed (no answer)")

    monkeypatch.setattr(Meteor, "missing", lambda self: None)
    monkeypatch.setattr(Meteor, "statistics", statistics)
    sft, rl = ablation([run]).rows
    comparison = compare()
    assert comparison.difference(rl, sft, Column("", "", "meteor", ALL)) is None
    assert comparison.unpaired == {"meteor": "its jar failed (no answer)"}


def test_every_metric_of_a_form_has_its_difference(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ("sft", WORSE), ("grpo", BETTER))
    (run,) = with_weighted_rewards([run], {"names": 2.0}, num_samples=10, confidence=0.95, seed=0)
    shared = compare(weights={"names": 2.0})
    for form in ("accuracy", "single", "names"):
        for table in tables_of(form, [run]).values():
            (row,) = differences(table, "SFT only", shared).rows
            pairs = zip(*(r.estimates for r in table.rows), strict=True)
            then = [after.mean - before.mean for before, after in pairs]
            assert [e.mean for e in row.estimates] == pytest.approx(then, abs=1e-6)
            assert all(e.has_interval and 0 < e.p_value <= 1 for e in row.estimates)
    sft, rl = ablation([run], columns=[ACC]).rows
    reward = Column("reward", "", METRIC, ALL)
    assert shared.difference(rl, sft, reward).mean == 2 * 0.75
    assert not shared.recounted


def test_a_contrast_of_gains_worked_by_hand(tmp_path: Path) -> None:
    """At one concept RL gains 75, at two 25: the gain differs by 50."""
    captions = [
        *predictions("sft", WORSE), *predictions("grpo", BETTER),
        *predictions("sft", WORSE, count=2), *predictions("grpo", [True] * 2 + WORSE[2:], count=2),
    ]  # fmt: skip
    run = save_run(tmp_path / "run", captions)
    two = Column("acc@2", "", "accuracy", "2")
    sft, rl = ablation([run], columns=[ACC, two]).rows
    terms = [Term(1, rl, ACC), Term(-1, sft, ACC), Term(-1, rl, two), Term(1, sft, two)]
    found = compare().contrast(terms)
    assert found.mean == 50
    assert found.low < 50 < found.high
    assert compare().contrast([Term(1, rl, OTHER)]) is None


def test_runs_that_cannot_be_paired_are_named(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one", ("grpo", WORSE), choices={"reward": "quality"})
    two = run_of(tmp_path / "two", ("grpo", BETTER[:5]))
    rows = ablation([one, two], columns=[ACC]).rows
    with pytest.raises(ValueError, match=r"cannot be paired with .*lacks the scene 'test/5'"):
        compare().difference(*rows, ACC)
    (two.folder / "predictions.jsonl").unlink()
    with pytest.raises(ValueError, match=r"two: predictions.jsonl is not there, or has no 'grpo'"):
        compare().difference(*rows, ACC)


def test_the_order_of_captions_does_not_matter(tmp_path: Path) -> None:
    sft, rl = predictions("sft", WORSE), predictions("grpo", BETTER)
    one = save_run(tmp_path / "one", [*sft, *rl])
    other = save_run(tmp_path / "other", [*sft, *rl[::-1]])
    found = [
        compare().difference(*reversed(ablation([run], columns=[ACC]).rows), ACC)
        for run in (one, other)
    ]
    assert found[0] == found[1]


def test_other_numbers_in_a_summary_are_told(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ("sft", WORSE), ("grpo", BETTER))
    run.metrics["grpo"][ALL]["accuracy"] = 12.0  # by the rules of another day
    table = ablation([run], columns=[ACC])
    assert f"{run.folder}" in differences(table, "SFT", compare()).note


def rows(*labels: tuple[str, str]) -> Table:
    found = tuple(Row(label, 1, (), block) for label, block in labels)
    return Table("t", (), found, "")


def test_a_row_is_compared_within_its_block() -> None:
    table = rows(("base (r=a)", "r=a"), ("sft (r=a)", "r=a"), ("base (r=b)", "r=b"), ("x", "c"))
    found = [base_of(row, table, "base").label for row in table.rows[:3]]
    assert found == ["base (r=a)", "base (r=a)", "base (r=b)"]
    # Where a block has none, the row must be the only one of all.
    with pytest.raises(ValueError, match=r"'base' is in 2 rows: base \(r=a\); base \(r=b\)"):
        base_of(table.rows[3], table, "base")
    assert base_of(table.rows[3], table, "base (r=b)") is table.rows[2]


def test_a_label_in_full_goes_before_parts() -> None:
    table = rows(("+ RL", ""), ("+ RL (kl=low)", ""))
    assert base_of(table.rows[1], table, "+ RL") is table.rows[0]
    with pytest.raises(ValueError, match=r"no row is called 'SFT'; there are: \+ RL; \+ RL \(kl"):
        base_of(table.rows[0], table, "SFT")


def test_differences_have_no_best_and_keep_their_blocks(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ("base", WORSE), ("sft", WORSE), ("grpo", BETTER))
    table = differences(ablation([run], columns=[ACC]), "SFT", compare())
    assert [row.label for row in table.rows] == ["base model", "+ RL"]
    assert not any(table.is_best(i, 0) for i in range(2))
    assert "difference from SFT only" in table.title
    assert replace(table.rows[1]).estimates[0].mean == 75
