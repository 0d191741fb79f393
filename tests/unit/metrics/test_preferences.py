import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges.questions import Preference
from repic.metrics.captions.preferences import Preferences, count_preferences
from repic.metrics.statistics import sign_test

WIN, TIE, LOSS = (Preference(score, is_consistent=True) for score in (1.0, 0.5, 0.0))
TURN = Preference(0.5, is_consistent=False)
RULES = {"num_samples": 50, "confidence": 0.95, "seed": 0}


def test_the_sign_test_by_hand() -> None:
    # Of six, one or none: (1 + 6) / 64 on each side.
    assert sign_test(5, 1) == sign_test(1, 5) == 14 / 64
    assert sign_test(3, 3) == sign_test(0, 0) == 1
    assert 0 < sign_test(900, 100) < 1e-100


@given(st.integers(0, 60), st.integers(0, 60))
def test_more_wins_are_less_likely_by_chance(wins: int, losses: int) -> None:
    p = sign_test(wins, losses)
    assert 0 < p <= 1
    assert p == sign_test(losses, wins)
    if wins >= losses:
        assert sign_test(wins + 1, losses) <= p


def test_counts_by_hand() -> None:
    verdicts = [WIN, WIN, TIE, TURN, LOSS, None]
    found = count_preferences(verdicts, list("aabbcd"), **RULES)
    assert found.interval is not None
    low, high = found.interval
    assert 0 <= low < found.preferred < high <= 100
    assert found == Preferences(6, 4, 2, 2, 1, 1, 60.0, found.interval, 1.0)
    assert found.num_judged == 5


def test_one_image_has_no_interval_and_no_verdict_no_number() -> None:
    assert count_preferences([WIN, LOSS], ["a", "a"], **RULES).interval is None
    with pytest.raises(ValueError, match="none of 2 pairs"):
        count_preferences([None, None], ["a", "b"], **RULES)


@given(st.lists(st.tuples(st.sampled_from([WIN, TIE, TURN, LOSS, None]), st.sampled_from("abc"))))
def test_changing_sides_mirrors(pairs: list) -> None:
    if not any(verdict for verdict, _ in pairs):
        return
    verdicts, images = [verdict for verdict, _ in pairs], [image for _, image in pairs]
    mirrored = [v and Preference(1 - v.score, v.is_consistent) for v in verdicts]
    here, there = (count_preferences(some, images, **RULES) for some in (verdicts, mirrored))
    assert here.preferred + there.preferred == pytest.approx(100)
    assert (here.wins, here.ties, here.losses) == (there.losses, there.ties, there.wins)
    assert here.p_value == there.p_value
    if here.interval and there.interval:
        assert here.interval == pytest.approx((100 - there.interval[1], 100 - there.interval[0]))
