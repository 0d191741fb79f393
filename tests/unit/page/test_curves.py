import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from repic.page import curves
from repic.page.curves import accuracy_chart, compared_curves, learning_curves
from repic.tables.runs import Curve, MetricRow, Run
from tests.unit.tables.saved import PHASES, RUN


def test_curves_are_gathered_by_key() -> None:
    rows = [
        MetricRow("grpo", 1, {"grpo/reward/aim": 0.1, "grpo/reward/total": 1.0, "other/x": 1.0}),
        MetricRow("grpo", 2, {"grpo/reward/aim": 0.2, "grpo/reward/total": 2.0, "grpo/kl": 0.3}),
        MetricRow("grpo", 2, {"val/1/accuracy": 50.0, "val/3/accuracy": 30.0}),
        MetricRow("grpo", 4, {"val/1/accuracy": 60.0, "val/3/accuracy": 40.0}),
    ]
    reward, accuracy = learning_curves(RUN, rows)  # a single value of the KL makes no curve
    assert [line.label for line in reward.lines] == ["total", "aim"]
    assert list(reward.lines[0].xs) == [1, 2]
    assert list(reward.lines[1].ys) == [0.1, 0.2]
    assert [line.label for line in accuracy.lines] == ["1 concept", "3 concepts"]
    assert list(accuracy.lines[1].ys) == [30.0, 40.0]


def test_what_is_only_measured_is_not_among_the_rewards() -> None:
    values = {"grpo/reward/aim": 0.1, "grpo/reward/words": 50.0, "grpo/reward/total": 1.0}
    rows = [
        MetricRow("grpo", i, {**values, **({"grpo/advantage_share/aim": 1.0} if i == 2 else {})})
        for i in (1, 2)
    ]
    (reward,) = learning_curves(RUN, rows)
    assert [line.label for line in reward.lines] == ["total", "aim"]


def test_phases_do_not_draw_over_each_other() -> None:
    values = {("sft", 1): 10.0, ("sft", 2): 20.0, ("grpo", 1): 30.0, ("grpo", 2): 40.0}
    rows = [MetricRow(phase, i, {"val/3/cider": value}) for (phase, i), value in values.items()]
    after, before = learning_curves(RUN, rows)
    assert (before.title, after.title) == ("CIDEr on validation, SFT", "CIDEr on validation, RL")
    assert [list(chart.lines[0].ys) for chart in (before, after)] == [[10.0, 20.0], [30.0, 40.0]]


# Several runs.


def make_run(folder: Path, seed: int, kl: str, rewards: list[float], accuracy: float = 50.0) -> Run:
    folder.mkdir(exist_ok=True)
    rows = [{"phase": "sft", "iteration": i, "sft/loss": 3.0 - i} for i in (1, 2)] + [
        {"phase": "grpo", "iteration": i, "grpo/reward/total": r, "grpo/reward/aim": r / 2}
        for i, r in enumerate(rewards, start=1)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    def cells(shift: float) -> dict:
        return {
            count: {
                "accuracy": accuracy + shift - 10.0 * int(count),
                "accuracy_ci": (accuracy + shift - 10.0 * int(count) - 60, 99.0),
            }
            for count in ("1", "3")
        }

    return replace(
        RUN,
        folder=folder,
        seed=seed,
        overrides=(f"seed={seed}", f"kl={kl}"),
        choices={"kl": kl},
        metrics={
            "name_everybody": {c: {"accuracy": 0.0} for c in ("1", "3")},
            "sft": {c: {"accuracy": 20.0} for c in ("1", "3")},
            "grpo": cells(seed * 2.0),
        },
    )


def test_several_runs_are_overlaid_by_configuration_with_means_over_seeds(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", 0, "low", [1.0, 2.0, 3.0]),
        make_run(tmp_path / "b", 1, "low", [3.0, 4.0]),  # one iteration is only in the other
        make_run(tmp_path / "c", 0, "high", [0.0, 0.5, math.nan]),
    ]
    total, aim, loss = compared_curves(runs)
    assert (total.title, aim.title, loss.title) == ("Reward: total", "Reward: aim", "SFT loss")
    low, high = total.lines
    assert (low.label, high.label) == ("+ RL (kl=low)", "+ RL (kl=high)")
    assert list(low.xs) == [1, 2, 3]
    assert list(low.ys) == [2.0, 3.0, 3.0]
    assert list(high.ys[:2]) == [0.0, 0.5]
    assert math.isnan(high.ys[2])
    assert list(aim.lines[0].ys) == [1.0, 1.5, 1.5]
    assert [list(line.ys) for line in loss.lines] == [[2.0, 1.0]]  # shared, so drawn once
    assert [line.style for line in aim.lines] == [line.style for line in total.lines] == [1, 2]


def test_accuracy_by_number_of_concepts(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(seed), seed, "low", []) for seed in (0, 1)]
    chart = accuracy_chart(runs)
    assert chart is not None
    assert chart.x_ticks == (1.0, 3.0)
    sft, rl = chart.lines  # naming everybody is nobody's method
    assert (sft.label, rl.label) == ("SFT only", "+ RL")
    assert list(rl.ys) == [41.0, 21.0]  # means of 40 and 42, of 20 and 22
    # Student's t of two: 12.706 · sqrt(2) / sqrt(2), cut at 0.
    assert list(rl.lows) == pytest.approx([41 - 12.706, 21 - 12.706], abs=1e-3)
    assert list(rl.highs) == pytest.approx([41 + 12.706, 21 + 12.706], abs=1e-3)
    alone = accuracy_chart(runs[:1])
    assert alone is not None
    assert alone.lines[1].lows == [0.0, 0.0]


def test_a_retriever_bounds_those_that_trust_it(tmp_path: Path) -> None:
    skip, found = (make_run(tmp_path / name, 0, "low", []) for name in ("skip", "found"))
    skip = replace(skip, choices={"kl": "low", "retrieval": "skip"})
    named = {count: {"accuracy": 80.0} for count in ("1", "3")}
    found = replace(
        found,
        choices={"kl": "low", "retrieval": "clip"},
        metrics={**found.metrics, "name_everybody": named},
    )
    chart = accuracy_chart([skip, found])
    assert chart is not None
    assert [line.label for line in chart.lines if "retriever" in line.label] == [
        "the retriever itself (upper bound)"
    ]
    assert list(chart.lines[-1].ys) == [80.0, 80.0]
    assert len(chart.lines) == 5  # SFT and RL with either


def test_one_number_of_concepts_makes_no_chart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0, "low", [])
    assert accuracy_chart([replace(run, metrics={"grpo": {"1": {"accuracy": 5.0}}})]) is None


def test_a_pattern_that_goes_through_all_ways_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curves, "SECONDS", 0.1)
    curve = Curve("Evil", "((?:a|aa)+)b")
    phase = replace(PHASES[0], curves=(curve,))
    rows = [MetricRow(phase.phase, i, {"a" * 60 + "cb": 1.0}) for i in (1, 2)]
    with pytest.raises(ValueError, match=r"curve Evil: .* takes too long to match"):
        learning_curves(replace(RUN, phases=(phase,)), rows)
