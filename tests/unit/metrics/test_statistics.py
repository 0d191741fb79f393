"""Paired comparison: by hand, by its properties, and against SciPy where it is installed."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.statistics import (
    FEW_CLUSTERS,
    Difference,
    bootstrap_intervals,
    contrast_interval,
    exchange_p_values,
    joint_verdict,
    mean_difference,
    mean_interval,
    paired_differences,
    verdict,
)
from tests.properties import at_most

DRAWS = {"num_samples": 400, "confidence": 0.95, "seed": 3}


def metrics_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """A mean and an F1 from columns value, 1, hits, false, missed."""
    value, ones, hits, false, missed = sums.T
    whole = 2 * hits + false + missed
    return {
        "mean": value / ones,
        "f1": np.where(whole > 0, 200 * hits / np.where(whole > 0, whole, 1), 0.0),
    }


def rows(values: list[float]) -> np.ndarray:
    """Statistics whose mean is that of the values; a value above 0.5 is a hit, another a miss."""
    v = np.array(values, dtype=float)
    hits = (v > 0.5).astype(float)
    return np.stack([v, np.ones_like(v), hits, 0 * v, 1 - hits], axis=1)


def pair(a: list[float], b: list[float], **draws: float) -> dict[str, Difference]:
    return paired_differences(rows(a), rows(b), metrics_of, **{**DRAWS, **draws})


def means_of_columns(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The mean of every column but the last, which holds ones."""
    return {str(i): column / sums[:, -1] for i, column in enumerate(sums.T[:-1])}


def test_four_images_worked_by_hand() -> None:
    """Differences 1, 1, 1, 0: mean 3/4.

    Of the 16 ways to exchange captions, the fourth image's does nothing; of the 8 of the others,
    all three or none exchanged give |3/4|: p = 2/8.
    """
    found = pair([1, 1, 1, 1], [0, 0, 0, 1])
    assert found["mean"].value == 0.75
    assert found["mean"].p_value == 0.25
    assert found["mean"].num_pairs == 4
    # F1: 4 hits against 1 hit with 3 missed, 200 / 5.
    assert found["f1"].value == 100 - 40
    assert (found["mean"].low, found["mean"].high) == (0.25, 1.0)


def test_exchanging_f1_is_not_exchanging_its_mean() -> None:
    """One image with all the names, by hand: 2 of 4 exchanges are as extreme, of F1 too."""
    first = np.array([[0.0, 1, 3, 0, 0], [0, 1, 0, 0, 1]])
    second = np.array([[0.0, 1, 0, 0, 3], [0, 1, 1, 0, 0]])
    found = exchange_p_values(first, second, metrics_of, num_samples=4, seed=0)
    # Observed: 6/7 against 2/5. With one image exchanged 1 against 0, with both as observed.
    assert found["f1"] == 1.0
    assert found["mean"] == 1.0


def test_drawn_exchanges_agree_with_all_of_them() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(9) + 0.25, rng.random(9)
    exact = exchange_p_values(rows(list(a)), rows(list(b)), metrics_of, num_samples=512, seed=0)
    by_hand = [
        abs(np.mean((a - b) * signs)) >= abs(np.mean(a - b)) - 1e-12
        for signs in itertools.product([1, -1], repeat=9)
    ]
    assert exact["mean"] == np.mean(by_hand)
    # 9 images have 512 ways; with 511 they are drawn.
    many = [
        exchange_p_values(rows(list(a)), rows(list(b)), metrics_of, num_samples=511, seed=s)["mean"]
        for s in range(20)
    ]
    assert np.mean(many) == pytest.approx(exact["mean"], abs=0.02)
    assert len(set(many)) > 1


def test_a_drawn_p_value_is_never_zero() -> None:
    found = pair([1.0] * 40, [0.0] * 40, num_samples=99)
    assert found["mean"].p_value == pytest.approx(1 / 100)


def test_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.random(8) + 0.2, rng.random(8)
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), vectorized=True,
        permutation_type="samples", n_resamples=np.inf,
    )  # fmt: skip
    ours = pair(list(a), list(b))["mean"]
    assert ours.value == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    t = stats.ttest_rel(a, b)
    ends = t.confidence_interval(0.95)
    seeds = mean_difference((np.array(a) - np.array(b)).tolist(), confidence=0.95)
    assert seeds.p_value == pytest.approx(t.pvalue, abs=1e-9)
    assert (seeds.low, seeds.high) == pytest.approx((ends.low, ends.high))


shares = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30)


@at_most(25)
@given(shares)
def test_turned_around_everything_but_the_p_value_changes_its_sign(
    pairs: list[tuple[float, float]],
) -> None:
    a, b = map(list, zip(*pairs, strict=True))
    there, back = pair(a, b, num_samples=100), pair(b, a, num_samples=100)
    for name in there:
        assert there[name].value == pytest.approx(-back[name].value, abs=1e-9)
        assert there[name].low == pytest.approx(-back[name].high, abs=1e-9)
        assert there[name].high == pytest.approx(-back[name].low, abs=1e-9)
        assert there[name].p_value == back[name].p_value


@at_most(25)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_equal_captions_do_not_differ(values: list[float]) -> None:
    for found in pair(values, values, num_samples=50).values():
        assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_the_order_of_images_changes_neither_value_nor_exact_p() -> None:
    a, b = [0.9, 0.1, 0.8, 0.7, 0.3], [0.2, 0.4, 0.1, 0.6, 0.3]
    one, other = pair(a, b), pair(a[::-1], b[::-1])
    assert one["mean"].p_value == other["mean"].p_value
    assert one["mean"].value == pytest.approx(other["mean"].value)


def test_of_correlated_captions_the_paired_interval_is_narrower() -> None:
    rng = np.random.default_rng(2)
    hard = rng.random(200)  # the same images are hard for both
    a, b = hard + 0.05 * rng.random(200), hard + 0.05 * rng.random(200)
    found = pair(list(a), list(b))["mean"]
    lows, highs = zip(
        *(
            bootstrap_intervals(rows(list(v)), metrics_of, **DRAWS)["mean"]
            for v in (a, b)
        ),
        strict=True,
    )  # fmt: skip
    unpaired = math.hypot(highs[0] - lows[0], highs[1] - lows[1])
    assert found.high - found.low < unpaired / 5


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(4):  # 25 trials share how images are drawn
        noise = np.hstack([rng.normal(0.1, 1, size=(60, 25)), np.ones((60, 1))])
        nothing = np.hstack([np.zeros((60, 25)), np.ones((60, 1))])
        draws = {**DRAWS, "num_samples": 200, "seed": seed}
        found = paired_differences(noise, nothing, means_of_columns, **draws)
        covered += sum(one.low <= 0.1 <= one.high for one in found.values())
    assert 0.88 <= covered / 100 <= 0.99


def test_seeds_worked_by_hand() -> None:
    """Differences 2, 4, 6: mean 4, deviation 2, error 2/sqrt(3); t(2) = 4.3027: 4.9683."""
    found = mean_difference([2.0, 4.0, 6.0], confidence=0.95)
    assert found.value == 4
    assert found.high == pytest.approx(4 + 4.9683, abs=1e-4)
    assert found.low == pytest.approx(4 - 4.9683, abs=1e-4)
    # t = 4 / 1.1547 = 3.4641; for 2 degrees p = 1 - t / sqrt(2 + t²) = 1 - sqrt(12/14).
    assert found.p_value == pytest.approx(1 - math.sqrt(12 / 14))
    assert found.num_pairs == 3


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6), st.integers(0, 40))
def test_a_shift_of_all_seeds_shifts_the_interval(values: list[int], shift: int) -> None:
    alone = mean_difference([float(v) for v in values], 0.95)
    moved = mean_difference([float(v + shift) for v in values], 0.95)
    assert moved.value == pytest.approx(alone.value + shift)
    assert moved.high - moved.low == pytest.approx(alone.high - alone.low)
    turned = mean_difference([-float(v) for v in values], 0.95)
    assert turned.value == pytest.approx(-alone.value)
    assert turned.low == pytest.approx(-alone.high)


def test_seeds_that_agree_and_a_seed_alone() -> None:
    sure = mean_difference([2.0, 2.0], 0.95)
    assert (sure.low, sure.high, sure.p_value) == (2, 2, 0)
    assert mean_difference([0.0, 0.0], 0.95).p_value == 1
    alone = mean_difference([2.0], 0.95)
    assert alone.value == 2
    assert math.isnan(alone.low)
    assert math.isnan(alone.p_value)


def test_a_contrast_of_gains() -> None:
    """Columns: value of three methods; (a - b) - (b - c) of sums, by hand."""
    sums = np.array([[3.0, 1, 0], [5, 2, 2]])

    def value_of(totals: np.ndarray) -> np.ndarray:
        return totals[:, 0] - 2 * totals[:, 1] + totals[:, 2]

    found = contrast_interval(sums, value_of, **DRAWS)
    assert found.value == 8 - 6 + 2
    # Each image drawn twice gives 2 · 1 and 2 · 3: the ends of what is drawn.
    assert (found.low, found.high) == (2, 6)
    assert math.isnan(contrast_interval(sums[:1], value_of, **DRAWS).low)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 2.0, "holds"),
        (-2.0, -0.1, "does not hold"),
        (-1.0, 1.0, "undecided"),
        (0.0, 1.0, "undecided"),
        (-1.0, 0.0, "undecided"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_verdicts(low: float, high: float, expected: str) -> None:
    assert verdict(low, high) == expected


def test_a_claim_is_as_good_as_its_weakest_statement() -> None:
    assert joint_verdict(["holds", "holds"]) == "holds"
    assert joint_verdict(["holds", "undecided"]) == "undecided"
    assert joint_verdict(["undecided", "does not hold", "holds"]) == "does not hold"
    assert joint_verdict([]) == "undecided"


def coverage(number: int, *, trials: int = 2000, at_once: int = 50) -> float:
    """How often the 95 % interval of a mean of so many clusters holds the true mean, which is 0.

    Some trials share how clusters are drawn, which takes longer than all the rest.
    """
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(trials // at_once):
        sums = np.hstack([rng.normal(size=(number, at_once)), np.ones((number, 1))])
        found = bootstrap_intervals(
            sums,
            means_of_columns,
            num_samples=1000,  # as tables have it; the ends of 200 lie too near
            confidence=0.95,
            seed=seed,
        )
        held += sum(low <= 0 <= high for low, high in found.values())
    return held / trials


@pytest.mark.parametrize(("number", "share"), [(2, 0.5), (4, 0.8), (10, 0.9)])
def test_intervals_over_few_clusters_are_too_narrow_by_as_much_as_tables_say(
    number: int, share: float
) -> None:
    found = coverage(number)
    assert found == pytest.approx(share, abs=0.05)
    if number < FEW_CLUSTERS:
        assert found < 0.85


def test_intervals_over_many_clusters_are_right() -> None:
    assert coverage(100) == pytest.approx(0.95, abs=0.03)


# From the usual printed table, two-sided.
TABLE = [
    (0.95, 1, 12.706),
    (0.95, 2, 4.303),
    (0.95, 3, 3.182),
    (0.95, 4, 2.776),
    (0.95, 5, 2.571),
    (0.95, 9, 2.262),
    (0.95, 30, 2.042),
    (0.99, 1, 63.657),
    (0.99, 2, 9.925),
    (0.99, 7, 3.499),
    (0.90, 4, 2.132),
    (0.95, 1000, 1.962),
]


@pytest.mark.parametrize(("confidence", "degrees", "quantile"), TABLE)
def test_student_s_quantiles_and_probabilities_are_those_of_the_printed_table(
    confidence: float, degrees: int, quantile: float
) -> None:
    values = np.arange(degrees + 1.0)
    error = values.std(ddof=1) / math.sqrt(len(values))
    low, high = mean_interval(values.tolist(), confidence)
    assert (high - low) / 2 / error == pytest.approx(quantile, abs=6e-4)
    # Moved so that its mean lies as many errors above 0.
    moved = mean_difference((values - values.mean() + quantile * error).tolist(), confidence)
    assert moved.p_value == pytest.approx(1 - confidence, abs=5e-5)
    assert moved.low == pytest.approx(0, abs=6e-4 * error)


def test_one_number_has_no_interval() -> None:
    assert np.isnan(mean_interval([1.0], 0.95)).all()
    assert np.isnan(mean_interval([], 0.95)).all()
