import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rl import advantages as rl
from repic.rl.advantages import Advantages, compute_advantages, has_signal

NAN = float("nan")
ONE = torch.ones(1)


def values_of(function: Callable[..., Advantages]) -> Callable[..., torch.Tensor]:
    """A function that returns the advantages alone."""
    return lambda *args, **options: function(*args, **options).values


group_advantages = values_of(rl.group_advantages)
rloo_advantages = values_of(rl.rloo_advantages)


def grpo(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return group_advantages(rewards, weights, normalize_std=True, eps=1e-4)


def dr_grpo(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return group_advantages(rewards, weights, normalize_std=False, eps=0.0)


every = pytest.mark.parametrize("advantages", [grpo, dr_grpo, rloo_advantages])


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards [B, G, K] in steps of 0.1, a tenth of them NaN, and weights [K]."""
    b, g, k = draw(st.integers(1, 3)), draw(st.integers(2, 6)), draw(st.integers(1, 3))
    cell = st.one_of(*[st.integers(-10, 10).map(lambda n: n / 10)] * 9, st.just(NAN))
    cells = draw(st.lists(cell, min_size=b * g * k, max_size=b * g * k))
    weights = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=k, max_size=k))
    return torch.tensor(cells).view(b, g, k), torch.tensor(weights)


def test_group_advantages_by_hand() -> None:
    # Totals 1*r1 + 2*r2: 1, 2, 3, 6. Mean 3, deviations -2, -1, 0, 3, population variance 14/4.
    rewards = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 2.0]]])
    weights = torch.tensor([1.0, 2.0])
    deviations = torch.tensor([[-2.0, -1.0, 0.0, 3.0]])
    torch.testing.assert_close(dr_grpo(rewards, weights), deviations)
    expected = deviations / (math.sqrt(3.5) + 0.5)
    got = group_advantages(rewards, weights, normalize_std=True, eps=0.5)
    torch.testing.assert_close(got, expected)


def test_rloo_by_hand() -> None:
    # 6 - (1 + 2 + 3) / 3 = 4, and so on.
    rewards = torch.tensor([[[1.0], [2.0], [3.0], [6.0]]])
    expected = torch.tensor([[1 - 11 / 3, 2 - 10 / 3, 0.0, 4.0]])
    torch.testing.assert_close(rloo_advantages(rewards, ONE), expected)


def test_a_component_takes_part_only_where_it_applies() -> None:
    # The second component is 0 and 4 in two of three rollouts: its mean there is 2.
    rewards = torch.tensor([[[1.0, 0.0], [2.0, NAN], [3.0, 4.0]]])
    got = dr_grpo(rewards, torch.ones(2))
    torch.testing.assert_close(got, torch.tensor([[-3.0, 0.0, 3.0]]))


def test_an_unscored_rollout_is_left_out_of_mean_and_std() -> None:
    rewards = torch.tensor([[[0.0], [1.0], [NAN]]])
    got = group_advantages(rewards, ONE, normalize_std=True, eps=0.0)
    torch.testing.assert_close(got, torch.tensor([[-1.0, 1.0, 0.0]]))
    torch.testing.assert_close(rloo_advantages(rewards, ONE), torch.tensor([[-1.0, 1.0, 0.0]]))


def test_a_component_without_weight_does_not_make_a_rollout_scored() -> None:
    rewards = torch.tensor([[[0.0, 5.0], [1.0, 6.0], [NAN, 7.0]]])
    got = group_advantages(rewards, torch.tensor([1.0, 0.0]), normalize_std=True, eps=0.0)
    torch.testing.assert_close(got, torch.tensor([[-1.0, 1.0, 0.0]]))


@every
@given(batches())
def test_rows_sum_to_zero(advantages, batch) -> None:
    assert advantages(*batch).isfinite().all()
    torch.testing.assert_close(
        advantages(*batch).sum(dim=1), torch.zeros(len(batch[0])), atol=1e-4, rtol=0
    )


@every
@given(batches(), st.integers(-20, 20))
def test_shifting_every_reward_changes_nothing(advantages, batch, shift) -> None:
    rewards, weights = batch
    torch.testing.assert_close(
        advantages(rewards + shift, weights), advantages(rewards, weights), atol=1e-3, rtol=1e-3
    )


@every
@given(batches(), st.randoms(use_true_random=False))
def test_siblings_have_no_order(advantages, batch, random) -> None:
    rewards, weights = batch
    order = list(range(rewards.shape[1]))
    random.shuffle(order)
    torch.testing.assert_close(
        advantages(rewards[:, order], weights), advantages(rewards, weights)[:, order]
    )


@every
@given(batches())
def test_groups_do_not_see_each_other(advantages, batch) -> None:
    rewards, weights = batch
    alone = torch.cat([advantages(group[None], weights) for group in rewards])
    torch.testing.assert_close(advantages(rewards, weights), alone)


@every
@pytest.mark.parametrize("value", [0.1, -0.3, 1e3, NAN])
def test_a_group_without_signal_is_exactly_zero(advantages, value) -> None:
    rewards = torch.full((1, 7, 2), value)
    assert advantages(rewards, torch.tensor([0.7, 0.1])).eq(0).all()


@every
def test_rounding_is_not_scaled_into_a_signal(advantages) -> None:
    # 0.1 + 0.2 and 0.3 + 0.0 differ in float32, not in meaning.
    rewards = torch.tensor([[[0.1, 0.2], [0.3, 0.0], [0.2, 0.1]]])
    assert advantages(rewards, torch.ones(2)).eq(0).all()


@every
def test_a_component_without_weight_is_only_watched(advantages) -> None:
    rewards = torch.tensor([[[1.0, 5.0], [1.0, -5.0]]])
    assert advantages(rewards, torch.tensor([1.0, 0.0])).eq(0).all()


@every
def test_a_group_of_one_is_refused(advantages) -> None:
    with pytest.raises(ValueError, match="group of one has no siblings"):
        advantages(torch.zeros(4, 1, 1), ONE)


@every
def test_inputs_are_not_modified(advantages) -> None:
    rewards, weights = torch.tensor([[[1.0, NAN], [0.0, 2.0]]]), torch.tensor([1.0, 0.5])
    before = rewards.clone(), weights.clone()
    advantages(rewards, weights)
    torch.testing.assert_close(rewards, before[0], equal_nan=True)
    torch.testing.assert_close(weights, before[1])


def test_scaling_every_reward_changes_only_what_is_not_normalized() -> None:
    rewards = torch.tensor([[[0.0], [1.0], [5.0]]])
    normalized = group_advantages(rewards, ONE, normalize_std=True, eps=0.0)
    rescaled = group_advantages(3 * rewards, ONE, normalize_std=True, eps=0.0)
    torch.testing.assert_close(rescaled, normalized)
    torch.testing.assert_close(dr_grpo(3 * rewards, ONE), 3 * dr_grpo(rewards, ONE))


def test_a_group_has_a_signal_where_an_advantage_is_not_zero() -> None:
    advantages = torch.tensor([[0.0, 0.0], [-0.5, 0.5], [0.5, 0.5], [1e-8, -1e-8]])
    assert has_signal(advantages).tolist() == [False, True, True, False]


def test_a_function_of_one_s_own_says_what_it_likes() -> None:
    rewards, weights = torch.tensor([[[0.0, 2.0], [4.0, 0.0]]]), torch.ones(2)
    plain = compute_advantages(lambda r, w: (r - 1) @ w, rewards, weights)
    assert plain.values.tolist() == [[0.0, 2.0]]
    assert plain.components is None
    whole = compute_advantages(lambda r, w: Advantages(r @ w, r.double() * w), rewards, weights)
    assert whole.components is not None
    with pytest.raises(ValueError, match=r"returns \[2\] for rewards \[1, 2, 2\]"):
        compute_advantages(lambda r, w: (r @ w).flatten(), rewards, weights)
    with pytest.raises(ValueError, match="components do not add up to its values"):
        compute_advantages(lambda r, w: Advantages(r @ w, r.double()), rewards, 2 * weights)
