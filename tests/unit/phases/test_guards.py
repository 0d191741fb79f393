"""Guards by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.phases.guards import GUARD_SPECS, Guards, GuardState
from tests.modules import FIXED_KL, NO_GUARDS, guard, guards


def looks(watch: GuardState, key: str, values: list[float]) -> list[bool]:
    return [watch.look({key: value})[1] is not None for value in values]


def test_patience_counts_iterations_in_a_row() -> None:
    watch = GuardState(guards(max_kl=guard(1.0, patience=2)))
    values = [2.0, 0.5, 2.0, 2.0, 2.0, 2.0, 1.0, 2.0]  # at its limit it is not past it
    stops = [False, False, False, True, False, True, False, False]  # it counts from 0 again
    assert looks(watch, "kl", values) == stops


def test_a_floor_is_a_floor() -> None:
    watch = GuardState(guards(min_entropy=guard(0.1)))
    assert looks(watch, "grpo/entropy", [0.5, 0.1, 0.05]) == [False, False, True]


def test_nan_neither_counts_nor_forgives() -> None:
    watch = GuardState(guards(max_kl=guard(1.0, patience=2)))
    nan, infinite = float("nan"), float("inf")
    assert looks(watch, "kl", [2.0, nan, infinite]) == [False, False, True]


def test_the_component_that_fails_most_counts_and_is_named() -> None:
    watch = GuardState(guards(max_failed_frac=guard(0.5)))
    assert watch.look({"grpo/reward/total": 1.0}) == (1.0, None)  # none fails
    shares = {"grpo/failed_frac/style": 0.75, "grpo/failed_frac/truth": 0.6}
    _, why = watch.look(shares)
    assert why == (
        "the share of captions that could not be judged (style) was 0.75, above"
        " phase.grpo.guards.max_failed_frac.limit=0.5; what may help: a look at what judges them:"
        " it may be down; phase.grpo.guards.max_failed_frac.limit=null lets it pass"
    )


def test_a_message_says_the_number_the_limit_and_for_how_long() -> None:
    watch = GuardState(guards(max_kl=guard(2, patience=3)))
    for value in (3.0, 4.0):
        watch.look({"kl": value})
    _, why = watch.look({"kl": 5.25})
    assert why is not None
    assert why.startswith(
        "the KL from the reference was 5.25 nats per token, above"
        " phase.grpo.guards.max_kl.limit=2 for 3 iterations in a row; what may help: a higher"
    )


def test_cooling_adds_up_and_is_remembered() -> None:
    settings = guards(max_kl=guard(1.0, action="cool"), cool_lr=0.5, cool_kl=3.0)
    watch = GuardState(settings)
    assert watch.numbers() == {"cooled": 0.0, "lr_factor": 1.0}
    assert watch.look({"kl": 0.5}) == (1.0, None)
    assert watch.look({"kl": 1.5}) == watch.look({"kl": 1.5}) == (3.0, None)
    assert watch.numbers() == {"cooled": 2.0, "lr_factor": 0.25}
    other = GuardState(settings)
    other.load_state(watch.state())
    assert other.numbers() == watch.numbers()
    assert GuardState(NO_GUARDS).numbers() == {}  # nothing to log where nothing can cool


def test_counts_are_remembered() -> None:
    settings = guards(max_kl=guard(1.0, patience=2))
    watch, other = GuardState(settings), GuardState(settings)
    watch.look({"kl": 2.0})
    other.load_state(watch.state())
    assert looks(other, "kl", [2.0]) == [True]
    assert looks(watch, "kl", [0.0]) == [False]  # the state is a copy


def test_stopping_goes_before_cooling() -> None:
    watch = GuardState(guards(max_kl=guard(1.0, action="cool"), max_length=guard(5.0)))
    factor, why = watch.look({"kl": 2.0, "grpo/length": 6.0})
    assert factor == 1.0
    assert why is not None
    assert "length" in why
    assert watch.lr_factor == 1.0


@given(
    st.lists(st.floats(0, 2), max_size=30),
    st.floats(0, 2),
    st.integers(1, 4),
)
def test_a_guard_acts_once_for_every_full_patience(
    values: list[float], limit: float, patience: int
) -> None:
    watch = GuardState(guards(max_length=guard(limit, patience)))
    stops = looks(watch, "grpo/length", values)
    runs, length = 0, 0
    for value in values:
        length = length + 1 if value > limit else 0
        runs += length > 0 and length % patience == 0
    assert sum(stops) == runs
    assert watch.counts["max_length"] == length % patience


def test_cooling_that_changes_nothing_is_refused() -> None:
    idle = guards(max_kl=guard(1.0, action="cool"), cool_lr=1.0, cool_kl=2.0)
    idle.check(0.1)
    for settings, coef in ((idle, 0.0), (replace(idle, cool_kl=1.0), 0.1)):
        with pytest.raises(ValueError, match="changes nothing; lower cool_lr"):
            settings.check(coef)
    guards(cool_lr=1.0, cool_kl=1.0).check(0.0)  # no guard cools


def test_every_guard_is_a_setting() -> None:
    names = {field for field in Guards.__dataclass_fields__ if not field.startswith("cool_")}
    assert names == set(GUARD_SPECS)


def test_a_nan_of_the_kl_does_not_reach_an_adaptive_coefficient() -> None:
    control = replace(FIXED_KL, target=0.05)
    assert control.next_coef(0.1, float("nan")) == 0.1
    assert control.next_coef(0.1, float("inf")) == pytest.approx(0.102)
