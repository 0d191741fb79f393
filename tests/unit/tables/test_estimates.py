import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.tables.estimates import over_seeds


def test_three_seeds_worked_by_hand() -> None:
    """Deviation 2, standard error 2/sqrt(3) = 1.1547, times t(2) = 4.3027: 4.9683."""
    estimate = over_seeds([64.0, 68.0, 66.0])
    assert estimate.mean == 66
    assert estimate.low == pytest.approx(66 - 4.9683, abs=1e-4)
    assert estimate.high == pytest.approx(66 + 4.9683, abs=1e-4)
    assert estimate.half_width == pytest.approx(4.9683, abs=1e-4)
    assert estimate.num_seeds == 3


def test_one_seed_has_no_interval() -> None:
    estimate = over_seeds([64.0])
    assert (estimate.mean, estimate.num_seeds) == (64.0, 1)
    assert math.isnan(estimate.low)
    assert not estimate.has_interval
    assert over_seeds([64.0, 65.0]).has_interval


values = st.lists(st.floats(0, 100), min_size=2, max_size=8)


@given(values, st.floats(-50, 50), st.floats(0.1, 10))
def test_shifting_and_scaling_shift_and_scale_the_interval(
    numbers: list[float], shift: float, scale: float
) -> None:
    before, after = over_seeds(numbers), over_seeds([scale * x + shift for x in numbers])
    assert after.mean == pytest.approx(scale * before.mean + shift, abs=1e-6)
    assert after.half_width == pytest.approx(scale * before.half_width, abs=1e-6)
