import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.student import student_p, student_t

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
def test_quantiles_and_probabilities_are_those_of_the_printed_table(
    confidence: float, degrees: int, quantile: float
) -> None:
    assert student_t(confidence, degrees) == pytest.approx(quantile, abs=6e-4)
    assert student_p(quantile, degrees) == pytest.approx(1 - confidence, abs=5e-5)


def test_no_quantile_without_degrees_of_freedom() -> None:
    with pytest.raises(ValueError, match="0 degrees"):
        student_t(0.95, 0)
    with pytest.raises(ValueError, match="confidence 95"):
        student_t(95.0, 2)
    with pytest.raises(ValueError, match="0 degrees"):
        student_p(1.0, 0)


@given(st.floats(0.01, 0.99), st.integers(1, 40))
def test_the_probability_undoes_the_quantile(confidence: float, degrees: int) -> None:
    t = student_t(confidence, degrees)
    assert student_p(t, degrees) == pytest.approx(1 - confidence, abs=1e-9)
    assert student_p(-t, degrees) == student_p(t, degrees)


def test_the_ends() -> None:
    assert student_p(0.0, 3) == 1
    assert student_p(math.inf, 3) == 0
