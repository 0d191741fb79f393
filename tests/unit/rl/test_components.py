import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.advantages import Advantages, compute_advantages, gdpo_advantages, group_advantages
from repic.rl.components import advantage_shares, component_diagnostics, reward_correlations
from tests.properties import at_most
from tests.unit.rl.test_advantages import batches
from tests.unit.rl.test_config import load, options

NAN = float("nan")
GRPO = partial(group_advantages, normalize_std=True, eps=1e-4)
DR_GRPO = partial(group_advantages, normalize_std=False, eps=0.0)
C_GDPO = partial(gdpo_advantages, is_whitened=False, min_std=0.0, eps=0.0)

FUNCTIONS = {option: load("advantage", option) for option in options("advantage")}

few = at_most(20)


def diagnose(function: Any, rewards: torch.Tensor, weights: torch.Tensor) -> dict[str, float]:
    return component_diagnostics(
        rewards,
        weights,
        [f"c{k}" for k in range(len(weights))],
        advantages=compute_advantages(function, rewards, weights),
    )


def test_shares_by_hand() -> None:
    # Deviations: a -1, 1; b (weight 2) 1, -1, so contributions -1, 1 and 2, -2: totals 1, -1.
    # Second group: a -2, 2, b constant. Cov(c, A) without scaling: a -2 + 8, b 4; Var(A) 2 + 8.
    rewards = torch.tensor([[[0.0, 2.0], [2.0, 0.0]], [[0.0, 5.0], [4.0, 5.0]]])
    weights = torch.tensor([1.0, 2.0])
    numbers = diagnose(DR_GRPO, rewards, weights)
    assert numbers["grpo/advantage_share/c0"] == pytest.approx(6 / 10)
    assert numbers["grpo/advantage_share/c1"] == pytest.approx(4 / 10)
    # Scaled by 1 / std (1 and 2): A = 1, -1 and -1, 1; a -1 · 1 · 2 = -2 and 2, b 4 and 0; Var 4.
    numbers = diagnose(partial(GRPO, eps=0.0), rewards, weights)
    assert numbers["grpo/advantage_share/c0"] == pytest.approx(0 / 4)
    assert numbers["grpo/advantage_share/c1"] == pytest.approx(4 / 4)
    # GDPO: z-scores -1, 1 and, times 2, 2, -2: A = 1, -1; second group z = -1, 1 alone.
    numbers = diagnose(C_GDPO, rewards, weights)
    assert numbers["grpo/advantage_share/c0"] == pytest.approx((-2 + 2) / 4)
    assert numbers["grpo/advantage_share/c1"] == pytest.approx((4 + 0) / 4)


def test_scale_matters_to_a_sum_and_not_where_each_is_normalized() -> None:
    # Two components that do not correlate, one of them ten times as large.
    rewards = torch.tensor([[[0.0, 0.0], [0.0, 10.0], [1.0, 0.0], [1.0, 10.0]]])
    weights = torch.ones(2)
    assert diagnose(GRPO, rewards, weights)["grpo/advantage_share/c1"] == pytest.approx(100 / 101)
    assert diagnose(C_GDPO, rewards, weights)["grpo/advantage_share/c1"] == pytest.approx(1 / 2)


@few
@given(batch=batches())
def test_components_add_up_to_the_advantages(batch: Any) -> None:
    for function in FUNCTIONS.values():
        advantages = function(*batch)
        sums = advantages.components.sum(dim=2).float()
        torch.testing.assert_close(sums, advantages.values, atol=1e-6, rtol=1e-5)


def test_shares_of_a_function_of_one_s_own_are_its_own() -> None:
    rewards = torch.tensor([[[0.0, 5.0], [1.0, 9.0], [2.0, 1.0]]])
    weights = torch.ones(2)

    def ranks(rewards: torch.Tensor, weights: torch.Tensor) -> Advantages:
        """Each component by its rank in the group: -1, 0, 1."""
        places = rewards.argsort(dim=1).argsort(dim=1).double() - 1
        return Advantages.sum_of(places * weights, rewards.dtype)

    # Ranks -1, 0, 1 and 0, 1, -1; A = -1, 1, 0. Cov with A: 1 and 1 of Var 2.
    numbers = diagnose(ranks, rewards, weights)
    assert numbers["grpo/advantage_share/c0"] == numbers["grpo/advantage_share/c1"] == 0.5
    # Nothing is said of what is not known; correlations are the rewards'.
    unknown = diagnose(lambda r, w: ranks(r, w).values, rewards, weights)
    assert unknown == {key: numbers[key] for key in ["grpo/reward_corr/c0/c1"]}


@few
@given(batch=batches(), factor=st.sampled_from([0.25, 8.0]), shift=st.sampled_from([-1.0, 4.0]))
def test_shares_add_up_to_one(batch: Any, factor: float, shift: float) -> None:
    rewards, weights = batch
    for option, function in FUNCTIONS.items():
        numbers = diagnose(function, rewards, weights)
        shares = {key: value for key, value in numbers.items() if "share" in key}
        assert not shares or sum(shares.values()) == pytest.approx(1, abs=1e-6), option
        assert shares or function(rewards, weights).values.abs().max() < 1e-3, option
        # Neither a shift of all rewards nor a scale of all advantages changes them.
        again = advantage_shares(function(rewards + shift, weights).components * factor).tolist()
        for key, value in shares.items():
            assert again[int(key[-1])] == pytest.approx(value, abs=1e-3), option


def test_correlations_by_hand() -> None:
    # First group: a -1, 0, 1 and b 0, -1, 1 (mean 1): cov 1, variances 2, 2. Second: b is missing
    # in the last rollout, so a -1, 1 and b 2, -2: cov -4, variances 2, 8.
    rewards = torch.tensor(
        [
            [[1.0, 1.0], [2.0, 0.0], [3.0, 2.0]],
            [[5.0, 9.0], [7.0, 5.0], [99.0, NAN]],
        ]
    )
    numbers = diagnose(DR_GRPO, rewards, torch.tensor([1.0, 3.0]))
    assert numbers["grpo/reward_corr/c0/c1"] == pytest.approx(-3 / math.sqrt(4 * 10))
    # What is paid for with a negative weight pulls the other way.
    numbers = diagnose(DR_GRPO, rewards, torch.tensor([1.0, -3.0]))
    assert numbers["grpo/reward_corr/c0/c1"] == pytest.approx(3 / math.sqrt(4 * 10))


def test_rounding_makes_no_correlation_above_one() -> None:
    values = torch.tensor([0.9, 0.0, 0.1, 0.2])
    rewards = torch.stack([values, 3 * values], dim=1)[None]
    assert reward_correlations(rewards, torch.ones(2))[0, 1].item() == 1.0  # not 1 + 2e-16


@given(batches(), st.sampled_from([0.25, 4.0]), st.sampled_from([-2.0, 8.0]))
def test_correlations_are_correlations(batch: Any, factor: float, shift: float) -> None:
    rewards, _ = batch
    weights = torch.ones(rewards.shape[2])
    found = reward_correlations(rewards, weights)
    known = ~found.isnan()
    assert (found[known].abs() <= 1).all()
    assert torch.equal(known, known.T)
    torch.testing.assert_close(found[known], found.T[known])
    own = found.diagonal()
    torch.testing.assert_close(own[~own.isnan()], torch.ones_like(own[~own.isnan()]))
    # Neither the scale of a component nor the level of a group matters.
    changed = rewards.clone()
    changed[:, :, 0] *= factor
    changed[0] += shift
    torch.testing.assert_close(
        reward_correlations(changed, weights), found, equal_nan=True, atol=1e-5, rtol=0
    )
    # Two copies go together, and a mirror image goes against.
    twins = torch.cat([rewards, rewards[:, :, :1], -rewards[:, :, :1]], dim=2)
    row = reward_correlations(twins, torch.ones(twins.shape[2]))[0]
    if not own[0].isnan():
        torch.testing.assert_close(row[-2:], torch.tensor([1.0, -1.0], dtype=torch.float64))


def test_which_keys_there_are() -> None:
    # c2 has no weight, c3 is constant, c4 applies nowhere.
    rewards = torch.tensor([[[0.0, 1.0, 3.0, 5.0, NAN], [1.0, 3.0, 0.0, 5.0, NAN]]])
    numbers = diagnose(GRPO, rewards, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]))
    shares = {f"grpo/advantage_share/c{k}" for k in (0, 1, 3, 4)}
    assert numbers.keys() == shares | {"grpo/reward_corr/c0/c1"}
    assert numbers["grpo/advantage_share/c3"] == numbers["grpo/advantage_share/c4"] == 0
    assert numbers["grpo/reward_corr/c0/c1"] == 1


def test_without_a_signal_there_is_nothing_to_share() -> None:
    assert diagnose(GRPO, torch.ones(2, 3, 2), torch.ones(2)) == {}
