import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges.retries import Retries, parse_retry_after


@given(st.integers(1, 2000), st.integers(1, 2000), st.one_of(st.none(), st.floats(0, 100)))
def test_delays_lie_between_half_and_all_of_the_doubled_one(
    sent: int, attempts: int, asked: float | None
) -> None:
    delay = Retries(attempts=attempts, first_delay=0.5, longest_delay=60.0).delay(sent, asked)
    if sent >= attempts or (asked or 0) > 60:
        assert delay is None
    else:
        doubled = min(60.0, 0.5 * 2.0 ** min(sent - 1, 20))
        assert delay is not None
        assert max(doubled / 2, asked or 0) <= delay <= max(doubled, asked or 0)


def test_by_hand() -> None:
    retries = Retries(attempts=9, first_delay=1.0, longest_delay=6.0)
    delays = [[retries.delay(sent, None) or 0.0 for _ in range(200)] for sent in (1, 2, 3, 4, 5)]
    for drawn, highest in zip(delays, (1, 2, 4, 6, 6), strict=True):
        assert highest / 2 <= min(drawn) < 0.6 * highest
        assert 0.9 * highest < max(drawn) <= highest


def test_the_jitter_leaves_the_runs_own_draws_alone() -> None:
    import random

    random.seed(1)
    before = random.getstate()
    Retries(attempts=2, first_delay=1.0, longest_delay=6.0).delay(1, None)
    assert random.getstate() == before


@pytest.mark.parametrize("value", [None, "", "soon", "-1", "nan", "inf", "99 bottles", "1e400"])
def test_a_header_that_says_nothing(value: str | None) -> None:
    assert parse_retry_after(value) is None


def test_a_date_is_seconds_from_now() -> None:
    assert parse_retry_after(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(
        100, abs=3
    )
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@given(st.text())
def test_no_header_raises(value: str) -> None:
    assert (parse_retry_after(value) or 0.0) >= 0


@pytest.mark.parametrize(
    "changes",
    [{"attempts": 0}, {"first_delay": -1.0}, {"first_delay": 9.0}, {"longest_delay": float("inf")}],
)
def test_bad_values_are_named(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"judge\.retries"):
        Retries(**{"attempts": 3, "first_delay": 1.0, "longest_delay": 8.0, **changes})
