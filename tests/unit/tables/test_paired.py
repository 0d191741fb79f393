import math
from pathlib import Path

import pytest

from repic.metrics.kept import FILE
from repic.tables.ablation import ablation
from repic.tables.columns import ALL, MetricColumn
from repic.tables.differences import differences
from repic.tables.layouts import tables_of
from repic.tables.paired import Term, common_seeds
from repic.tables.weighting import METRIC, with_weighted_rewards
from tests.unit.tables.saved import BETTER, WORSE, compare, predictions, run_of, save_run

ACC = MetricColumn("acc@1", "", "accuracy", "1")
OTHER = MetricColumn("BLEU", "", "bleu_4", ALL)


def test_one_seed_pairs_captions_worked_by_hand(tmp_path: Path) -> None:
    """Six of eight scenes are right by RL alone: +75; two of 2^6 exchanges are as extreme."""
    run = run_of(tmp_path / "run", ("sft", WORSE), ("grpo", BETTER))
    sft, rl = ablation([run], [ACC]).rows
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
    sft, rl = ablation(runs, [ACC]).rows
    assert set(sft.runs) == {""}  # SFT is the same whatever the seed
    found = compare().difference(rl, sft, ACC)
    assert (found.mean, found.num_seeds) == (50, 3)
    assert found.high - 50 == pytest.approx(4.3027 * 25 / math.sqrt(3), abs=1e-3)
    # Captions are not needed for it.
    for run in runs:
        (run.folder / FILE).unlink()
    assert compare().difference(rl, sft, ACC) == found


def test_seeds_that_only_one_has_do_not_count(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path / f"{r}{s}", ("grpo", [i <= s + n for i in range(8)]),
               seed=s, choices={"reward": r})
        for r, n, seeds in (("quality", 0, (0, 1)), ("combined", 2, (1, 2, 3)))
        for s in seeds
    ]  # fmt: skip
    quality, combined = ablation(runs, [ACC]).rows
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
    sft, rl = ablation(runs, [ACC]).rows
    assert compare().difference(rl, sft, ACC).num_seeds == 2
    runs[0].metrics["grpo"]["1"]["accuracy"] = runs[1].metrics["grpo"]["1"]["accuracy"] = math.nan
    assert compare().difference(rl, sft, ACC) is None


def test_every_metric_of_a_form_has_its_difference(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ("sft", WORSE), ("grpo", BETTER))
    (run,) = with_weighted_rewards([run], {"names": 2.0}, num_samples=10, confidence=0.95, seed=0)
    shared = compare(weights={"names": 2.0})
    for form in ("accuracy", "single", "names"):
        for table in tables_of(form, [run]).values():
            (row,) = differences(table, "SFT only", shared).rows
            pairs = zip(*(r.cells for r in table.rows), strict=True)
            then = [after.mean - before.mean for before, after in pairs]
            assert [e.mean for e in row.cells] == pytest.approx(then, abs=1e-6)
            assert all(e.has_interval and 0 < e.p_value <= 1 for e in row.cells)
    sft, rl = ablation([run], [ACC]).rows
    reward = MetricColumn("reward", "", METRIC, ALL)
    assert shared.difference(rl, sft, reward).mean == 2 * 0.75


def test_a_contrast_of_gains_worked_by_hand(tmp_path: Path) -> None:
    """At one concept RL gains 75, at two 25: the gain differs by 50."""
    captions = [
        *predictions("sft", WORSE), *predictions("grpo", BETTER),
        *predictions("sft", WORSE, count=2), *predictions("grpo", [True] * 2 + WORSE[2:], count=2),
    ]  # fmt: skip
    run = save_run(tmp_path / "run", captions)
    two = MetricColumn("acc@2", "", "accuracy", "2")
    sft, rl = ablation([run], [ACC, two]).rows
    terms = [Term(1, rl, ACC), Term(-1, sft, ACC), Term(-1, rl, two), Term(1, sft, two)]
    found = compare().contrast(terms)
    assert found.mean == 50
    assert found.low < 50 < found.high
    assert compare().contrast([Term(1, rl, OTHER)]) is None


def test_runs_that_cannot_be_paired_are_named(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one", ("grpo", WORSE), choices={"reward": "quality"})
    two = run_of(tmp_path / "two", ("grpo", BETTER[:5]))
    rows = ablation([one, two], [ACC]).rows
    with pytest.raises(ValueError, match=r"cannot be paired with .*lacks the scene 'test/5'"):
        compare().difference(*rows, ACC)
    (two.folder / FILE).unlink()
    with pytest.raises(ValueError, match=r"two: there is no scores.npz.*delete summary.json"):
        compare().difference(*rows, ACC)
    other = run_of(tmp_path / "other", ("sft", WORSE))
    (other.folder / FILE).rename(two.folder / FILE)
    with pytest.raises(ValueError, match=r"two/scores.npz: has no 'grpo' captions; delete it"):
        compare().difference(*rows, ACC)


def test_the_order_of_captions_does_not_matter(tmp_path: Path) -> None:
    sft, rl = predictions("sft", WORSE), predictions("grpo", BETTER)
    one = save_run(tmp_path / "one", [*sft, *rl])
    other = save_run(tmp_path / "other", [*sft, *rl[::-1]])
    found = [
        compare().difference(*reversed(ablation([run], [ACC]).rows), ACC) for run in (one, other)
    ]
    assert found[0] == found[1]


def test_scores_of_another_run_are_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ("sft", WORSE), ("grpo", BETTER))
    other = run_of(tmp_path / "other", ("sft", WORSE), ("grpo", WORSE))
    (other.folder / FILE).rename(run.folder / FILE)
    with pytest.raises(ValueError, match=r"accuracy 25, and summary\.json says 100: they"):
        differences(ablation([run], [ACC]), "SFT", compare())
