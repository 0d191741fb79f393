import numpy as np
import pytest

from repic.metrics.bootstrap import FEW_CLUSTERS, intervals


def coverage(number: int, *, trials: int = 500) -> float:
    """How often the 95 % interval of a mean of so many clusters holds the true mean, which is 0."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(trials):
        sums = np.stack([rng.normal(size=number), np.ones(number)], axis=1)
        found = intervals(
            sums,
            lambda totals: {"mean": totals[:, 0] / totals[:, 1]},
            num_samples=1000,  # as tables have it; the ends of 200 lie too near
            confidence=0.95,
            seed=trial,
        )
        low, high = found["mean"]
        held += low <= 0 <= high
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
