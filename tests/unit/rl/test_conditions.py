import pytest
import torch

from repic.rl.conditions import (
    Condition,
    condition_diagnostics,
    conditioned_rewards,
    read_conditions,
)

NAN = float("nan")
NAMES = ["truth", "fluency", "length"]
REWARDS = torch.tensor([[[0.4, 1.0, 0.3], [0.5, 0.8, NAN]], [[NAN, 0.7, 0.2], [0.1, NAN, 0.1]]])


def test_by_hand() -> None:
    got = conditioned_rewards(REWARDS, NAMES, [Condition("fluency", "truth", 0.5)])
    # Not met; met exactly; the condition does not apply; the component does not apply.
    expected = torch.tensor(
        [[[0.4, 0.0, 0.3], [0.5, 0.8, NAN]], [[NAN, 0.7, 0.2], [0.1, NAN, 0.1]]]
    )
    torch.testing.assert_close(got, expected, equal_nan=True)


def test_conditions_look_at_raw_components() -> None:
    chain = [Condition("fluency", "truth", 0.5), Condition("length", "fluency", 0.5)]
    for order in (chain, chain[::-1]):
        got = conditioned_rewards(REWARDS, NAMES, order)
        assert got[0, 0].tolist() == pytest.approx([0.4, 0.0, 0.3])


def test_without_conditions_nothing_changes_and_inputs_are_never_modified() -> None:
    before = REWARDS.clone()
    torch.testing.assert_close(conditioned_rewards(REWARDS, NAMES, []), before, equal_nan=True)
    conditioned_rewards(REWARDS, NAMES, [Condition("fluency", "truth", 2.0)])
    torch.testing.assert_close(REWARDS, before, equal_nan=True)


def test_what_is_logged() -> None:
    numbers = condition_diagnostics(REWARDS, NAMES, [Condition("fluency", "truth", 0.5)])
    assert numbers == pytest.approx(
        {"grpo/condition_met_frac/fluency": 2 / 3, "grpo/raw_reward/fluency": 2.5 / 3}
    )
    nothing = torch.full((1, 2, 3), NAN)
    assert condition_diagnostics(nothing, NAMES, [Condition("fluency", "truth", 0.5)]) == {}


def test_bounds_on_both_sides() -> None:
    rewards = torch.tensor([[[0.3, 1.0], [0.5, 1.0], [1.2, 1.0], [2.0, 1.0], [2.1, 1.0]]])
    mask = [Condition("language", "ratio", at_least=0.5, at_most=2.0)]
    got = conditioned_rewards(rewards, ["ratio", "language"], mask)
    assert got[0, :, 1].tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    numbers = condition_diagnostics(rewards, ["ratio", "language"], mask)
    assert numbers["grpo/condition_met_frac/language"] == pytest.approx(0.6)


def test_breaking_a_condition_is_no_way_out_of_what_a_component_takes_away() -> None:
    """CoViP's reward goes down to -1, recognition for names of who is absent, too."""
    rewards = torch.tensor([[[3.0, -1.0], [3.0, 0.5], [1.0, -1.0], [3.0, NAN]]])
    mask = [Condition("covip", "ratio", at_most=2.0)]
    got = conditioned_rewards(rewards, ["ratio", "covip"], mask)[0, :, 1]
    torch.testing.assert_close(got, torch.tensor([-1.0, 0.0, -1.0, NAN]), equal_nan=True)


def test_all_conditions_of_a_component_must_hold() -> None:
    rewards = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    both = [Condition("c", "a", 0.5), Condition("c", "b", 0.5)]
    assert conditioned_rewards(rewards, ["a", "b", "c"], both)[0, :, 2].tolist() == [0, 0, 0, 1]
    met = condition_diagnostics(rewards, ["a", "b", "c"], both)["grpo/condition_met_frac/c"]
    assert met == pytest.approx(0.25)


def test_settings_are_read() -> None:
    settings = {"mine": {"component": "length", "given": "truth", "at_most": 1}}
    assert read_conditions(settings, NAMES) == (Condition("length", "truth", at_most=1.0),)
    assert read_conditions({}, NAMES) == ()
    both = {"both": {"component": ["length", "fluency"], "given": "truth", "at_least": 0.5}}
    assert read_conditions(both, NAMES) == (
        Condition("length", "truth", 0.5),
        Condition("fluency", "truth", 0.5),
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"component": "beauty", "given": "truth", "at_least": 1}, "no reward yields 'beauty'"),
        ({"component": "length", "given": "beauty", "at_least": 1}, "no reward yields 'beauty'"),
        ({"component": "length", "given": "length", "at_least": 1}, "conditioned on itself"),
        ({"component": "length", "given": "truth"}, "or `at_most` or both, not component, given"),
        ({"component": "length", "given": "truth", "at_lest": 1, "at_most": 2}, "not component,"),
        ({"component": "length", "given": "truth", "at_least": 3, "at_most": 2}, "least 3.0 and"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict, message: str) -> None:
    good = {"component": "fluency", "given": "truth", "at_least": 0.5}
    with pytest.raises(ValueError, match=rf"reward\.rubric\.conditions\.bad: .*{message}"):
        read_conditions({"good": good, "bad": setting}, NAMES)
