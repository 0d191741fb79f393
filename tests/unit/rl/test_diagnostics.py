import pytest
import torch

from repic.rl.diagnostics import group_diagnostics

NAN = float("nan")


def diagnose(rewards: list, weights: list, names: tuple[str, ...]) -> dict[str, float]:
    values = torch.tensor(rewards)
    shape = values.shape[:2]
    return group_diagnostics(
        values,
        torch.tensor(weights),
        names,
        lengths=torch.arange(shape.numel()).view(shape),
        is_finished=torch.arange(shape.numel()).view(shape) > 0,
        entropy=torch.tensor(1.5),
    )


def test_by_hand() -> None:
    # Group 1 differs in both parts though its totals are equal; group 2 is constant; group 3
    # has only the first component.
    rewards = [[[1.0, 0.0], [0.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]], [[0.0, NAN], [4.0, NAN]]]
    assert diagnose(rewards, [1.0, 1.0], ("a", "b")) == pytest.approx(
        {
            "grpo/reward/total": 14 / 6,
            "grpo/reward/a": 9 / 6,
            "grpo/reward/b": 5 / 4,
            "grpo/reward_std/total": (0 + 0 + 2) / 3,
            "grpo/reward_std/a": (0.5 + 0 + 2) / 3,
            "grpo/reward_std/b": (0.5 + 0) / 2,
            "grpo/zero_variance_frac/total": 2 / 3,
            "grpo/zero_variance_frac/a": 1 / 3,
            "grpo/zero_variance_frac/b": 1 / 2,
            "grpo/zero_variance_frac/vector": 1 / 3,
            "grpo/length": 2.5,
            "grpo/finished_frac": 5 / 6,
            "grpo/entropy": 1.5,
        }
    )


def test_a_component_that_applies_nowhere_has_no_keys() -> None:
    numbers = diagnose([[[1.0, NAN], [0.0, NAN]]], [1.0, 1.0], ("a", "b"))
    assert not [key for key in numbers if key.endswith("/b")]
    assert all(value == value for value in numbers.values())


def test_weights_decide_what_counts_as_a_difference() -> None:
    numbers = diagnose([[[1.0, 0.0], [1.0, 5.0]]], [1.0, 0.0], ("a", "b"))
    assert numbers["grpo/zero_variance_frac/vector"] == 1
    assert numbers["grpo/zero_variance_frac/b"] == 0
    assert numbers["grpo/reward/total"] == 1
