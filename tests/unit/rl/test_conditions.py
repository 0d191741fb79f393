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


def test_settings_are_read() -> None:
    settings = {"length": {"on": "truth", "at_least": 1}}
    assert read_conditions(settings, NAMES) == (Condition("length", "truth", 1.0),)
    assert read_conditions({}, NAMES) == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beauty": {"on": "truth", "at_least": 1}}, "no reward yields 'beauty'"),
        ({"length": {"on": "beauty", "at_least": 1}}, "length: no reward yields 'beauty'"),
        ({"length": {"on": "length", "at_least": 1}}, "conditioned on itself"),
        ({"length": {"on": "truth"}}, "give `on` and `at_least`"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_conditions(settings, NAMES)
