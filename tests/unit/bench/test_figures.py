import csv
import math
from pathlib import Path

import pytest

from repic.bench.figures import Step, append_step, median_ratio, summarize, summary_of, token_limit


def step(contender: str, number: int, **changes: object) -> Step:
    numbers = {
        "started": "now",
        "overrides": "bench=a",
        "value": "",
        "prompt_tokens": 100.0,
        "cpu_s": 1.0,
        "wall_s": 2.0,
        "rollout_cpu_s": 0.25,
        "rollout_wall_s": 0.5,
        "update_cpu_s": 0.75,
        "update_wall_s": 1.5,
        "peak_mib": 300.0,
        "load": 0.5,
    }
    return Step(contender=contender, round=number, **{**numbers, **changes})


def test_the_limit_is_the_ratio_of_the_tokens_that_go_through_the_model() -> None:
    # 5 pictures of 256 tokens and 20 words; 8 captions of 48: 8 · 1348 tokens against 1300 + 384.
    assert token_limit(1300.0, 48, 8) == pytest.approx(10784 / 1684)
    # The limit's two ends: one caption shares nothing, a long prompt shares all but one G-th.
    assert token_limit(1300.0, 48, 1) == 1
    assert token_limit(1e9, 48, 8) == pytest.approx(8, rel=1e-5)
    assert token_limit(0.0, 48, 8) == 1


def test_an_even_number_of_values_has_a_median_between_two() -> None:
    summary = summarize([4.0, 1.0, 2.0, 9.0])
    assert (summary.median, summary.low, summary.high) == (3.0, 1.0, 9.0)


def test_nothing_measured_is_nan() -> None:
    assert math.isnan(summarize([]).median)
    assert math.isnan(median_ratio([step("plain", 1)], "plain", "packed", "cpu_s"))


def test_the_warm_up_does_not_count() -> None:
    steps = [step("plain", 0, cpu_s=99.0), step("plain", 1), step("plain", 2, cpu_s=3.0)]
    assert summary_of(steps, "plain", "cpu_s") == summarize([1.0, 3.0])


def test_the_ratio_is_one_of_medians() -> None:
    steps = [step("plain", n, cpu_s=float(n)) for n in (1, 2, 6)]
    steps += [step("packed", n, cpu_s=0.5) for n in (1, 2, 6)]
    assert median_ratio(steps, "plain", "packed", "cpu_s") == 4.0


def test_rows_are_added_below_one_header(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    for one in (step("plain", 1, value="2"), step("packed", 0, value="16", cpu_s=10.0)):
        append_step(path, one)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["contender"], r["value"]) for r in rows] == [("plain", "2"), ("packed", "16")]
    assert float(rows[1]["cpu_s"]) == 10.0
