import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.kl_control import KlControl, adapted_coef

FIXED = {"in_reward": False, "target": None, "gain": 0.1, "refresh_every": 0}


@pytest.mark.parametrize(
    ("kl", "expected"),
    # Errors 0.1, 0.5 → 0.2, -0.1, -1 → -0.2; a gain of 0.5.
    [(0.055, 0.42), (0.075, 0.44), (0.05, 0.4), (0.045, 0.38), (0.0, 0.36)],
)
def test_by_hand(kl: float, expected: float) -> None:
    assert adapted_coef(0.4, kl, target=0.05, gain=0.5) == pytest.approx(expected)


@given(st.floats(0.01, 1), st.floats(-1, 5), st.floats(0.01, 1))
def test_it_stays_positive_and_steers_the_right_way(coef: float, kl: float, target: float) -> None:
    found = adapted_coef(coef, kl, target=target, gain=0.1)
    assert 0.97 * coef < found < 1.03 * coef
    assert (found > coef) == (kl > target) or kl == pytest.approx(target)


def test_without_a_target_the_coefficient_is_fixed() -> None:
    assert KlControl(**FIXED).next_coef(0.1, 9.0) == 0.1
    steered = KlControl(**{**FIXED, "target": 0.05})
    assert steered.next_coef(0.1, 9.0) == adapted_coef(0.1, 9.0, target=0.05, gain=0.1)


def test_it_reaches_its_target_where_the_kl_answers() -> None:
    coef = 0.5
    for _ in range(300):
        coef = adapted_coef(coef, 0.01 / coef, target=0.05, gain=0.1)  # more pull, less KL
    assert 0.01 / coef == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "coef", "message"),
    [
        ({"target": 0.05}, 0.0, "cannot leave 0"),
        ({"in_reward": True}, 0.0, "would do nothing"),
        ({"refresh_every": 5}, 0.0, "would do nothing"),
    ],
)
def test_what_would_do_nothing_is_refused(changes: dict, coef: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KlControl(**{**FIXED, **changes}).check(coef)


def test_ordinary_settings_are_not_refused() -> None:
    KlControl(**FIXED).check(0.0)
    KlControl(in_reward=True, target=0.05, gain=0.1, refresh_every=10).check(0.1)
