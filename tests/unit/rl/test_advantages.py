import math
from collections.abc import Callable
from functools import partial
from typing import Any

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
rloo = values_of(rl.rloo_advantages)
gdpo_advantages = values_of(rl.gdpo_advantages)
reinforce_pp_advantages = values_of(rl.reinforce_pp_advantages)
reinforce_pp_baseline_advantages = values_of(rl.reinforce_pp_baseline_advantages)

grpo = partial(group_advantages, normalize_std=True, eps=1e-4)
exact_grpo = partial(group_advantages, normalize_std=True, eps=0.0)
dr_grpo = partial(group_advantages, normalize_std=False, eps=0.0)
reinforce = partial(reinforce_pp_advantages, eps=1e-4)
baseline = partial(reinforce_pp_baseline_advantages, eps=1e-4)
gdpo = partial(gdpo_advantages, is_whitened=True, min_std=0.0, eps=1e-4)
c_gdpo = partial(gdpo_advantages, is_whitened=False, min_std=0.0, eps=1e-4)
floored = partial(gdpo_advantages, is_whitened=True, min_std=0.2, eps=0.0)
bare = partial(gdpo_advantages, is_whitened=True, min_std=0.0, eps=0.0)

WITHIN = [grpo, dr_grpo, rloo]  # see nothing of other groups
GROUPED = [*WITHIN, baseline, gdpo, c_gdpo, floored, bare]
EVERY = [*GROUPED, reinforce]

grouped = pytest.mark.parametrize("advantages", GROUPED)
every = pytest.mark.parametrize("advantages", EVERY)
# Without eps, which blows up what it leaves of components that cancel.
exact_baseline = partial(reinforce_pp_baseline_advantages, eps=0.0)
whitened = pytest.mark.parametrize("advantages", [exact_baseline, floored, bare])


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
    torch.testing.assert_close(rloo(rewards, ONE), expected)


def test_reinforce_pp_by_hand() -> None:
    # Totals 1*r1 + 2*r2: 0, 1, 2, 5. Mean 2, deviations -2, -1, 0, 3, population variance 14/4.
    rewards = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 2.0]]])
    got = reinforce_pp_advantages(rewards, torch.tensor([1.0, 2.0]), eps=0.5)
    expected = torch.tensor([[-2.0, -1.0], [0.0, 3.0]]) / (math.sqrt(3.5) + 0.5)
    torch.testing.assert_close(got, expected)


def test_reinforce_pp_baseline_by_hand() -> None:
    # Within groups: -0.5, 0.5 and -1.5, 1.5; variance over the batch (0.25 * 2 + 2.25 * 2) / 4.
    rewards = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 2.0]]])
    got = reinforce_pp_baseline_advantages(rewards, torch.tensor([1.0, 2.0]), eps=0.5)
    expected = torch.tensor([[-0.5, 0.5], [-1.5, 1.5]]) / (math.sqrt(1.25) + 0.5)
    torch.testing.assert_close(got, expected)


def test_gdpo_by_hand() -> None:
    # First group: r1 = 0, 4 (std 2) and r2 = 1, 3 (std 1), so -1 + -2 and 1 + 2 with weights 1, 2.
    # Second: r1 constant, r2 = 5, 1 (std 2), so 2, -2. Whitened by sqrt((9 + 9 + 4 + 4) / 4).
    rewards = torch.tensor([[[0.0, 1.0], [4.0, 3.0]], [[7.0, 5.0], [7.0, 1.0]]])
    weights = torch.tensor([1.0, 2.0])
    summed = torch.tensor([[-3.0, 3.0], [2.0, -2.0]])
    plain = gdpo_advantages(rewards, weights, is_whitened=False, min_std=0.0, eps=0.0)
    torch.testing.assert_close(plain, summed)
    whole = gdpo_advantages(rewards, weights, is_whitened=True, min_std=0.0, eps=0.0)
    torch.testing.assert_close(whole, summed / math.sqrt(6.5))
    # With eps 1: -2/3 + 2 * -1/2 and 2 * 2/3; then the whitening's own.
    summed = torch.tensor([[-5 / 3, 5 / 3], [4 / 3, -4 / 3]])
    expected = summed / (math.sqrt((25 + 16) / 18) + 1)
    got = gdpo_advantages(rewards, weights, is_whitened=True, min_std=0.0, eps=1.0)
    torch.testing.assert_close(got, expected)


def test_gdpo_tells_apart_what_a_sum_confuses() -> None:
    # The paper's example: totals (0, 1) and (0, 2) are the same to GRPO.
    rewards = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])
    got = gdpo_advantages(rewards, torch.ones(2), is_whitened=False, min_std=0.0, eps=0.0)
    torch.testing.assert_close(got, torch.tensor([[-1.0, 1.0], [-2.0, 2.0]]))


def test_gdpo_learns_from_equal_totals() -> None:
    rewards = torch.tensor([[[0.0, 3.0], [1.0, 2.0], [3.0, 0.0], [3.0, 0.0]]])
    assert gdpo(rewards, torch.tensor([1.0, 2.0])).abs().min() > 0.1


@pytest.mark.parametrize("advantages", [gdpo, c_gdpo, bare])
def test_components_that_cancel_exactly_are_no_signal(advantages) -> None:
    # Equal weights and a constant sum: what one gains the other loses, but for float32's rounding.
    first = torch.tensor([0.1, 0.3, 0.35, 0.7])
    rewards = torch.stack([torch.stack([first, 1 - first], dim=1), torch.rand(4, 2)])
    got = advantages(rewards, torch.ones(2))
    assert got[0].eq(0).all()
    assert has_signal(got).tolist() == [False, True]


def test_the_floor_keeps_noise_small() -> None:
    # One component differs by 1, the other by 0.01.
    rewards = torch.tensor([[[0.0, 0.51], [1.0, 0.50]]])
    free = gdpo_advantages(rewards, torch.ones(2), is_whitened=False, min_std=0.0, eps=0.0)
    torch.testing.assert_close(free, torch.zeros(1, 2), atol=1e-4, rtol=0)  # noise wins a half
    held = gdpo_advantages(rewards, torch.ones(2), is_whitened=False, min_std=0.1, eps=0.0)
    torch.testing.assert_close(held, torch.tensor([[-0.95, 0.95]]))


def test_a_component_takes_part_only_where_it_applies() -> None:
    # The second component is 0 and 4 in two of three rollouts: its mean there is 2.
    rewards = torch.tensor([[[1.0, 0.0], [2.0, NAN], [3.0, 4.0]]])
    got = dr_grpo(rewards, torch.ones(2))
    torch.testing.assert_close(got, torch.tensor([[-3.0, 0.0, 3.0]]))
    # The second component is 0 and 4 in two of three rollouts: ±1 there, nothing for the other.
    rewards = torch.tensor([[[5.0, 0.0], [5.0, NAN], [5.0, 4.0]]])
    got = gdpo_advantages(rewards, torch.ones(2), is_whitened=False, min_std=0.0, eps=0.0)
    torch.testing.assert_close(got, torch.tensor([[-1.0, 0.0, 1.0]]))


@pytest.mark.parametrize(
    ("advantages", "atol"),
    [(exact_grpo, 1e-5), (rloo, 1e-5), (reinforce, 1e-3), (baseline, 1e-3), (bare, 1e-3)],
)
def test_an_unscored_rollout_is_left_out_of_every_statistic(advantages, atol) -> None:
    expected = torch.tensor([[-1.0, 1.0, 0.0]])
    rewards = torch.tensor([[[0.0], [1.0], [NAN]]])
    for copies in (1, 2):
        got = advantages(rewards.repeat(copies, 1, 1), ONE)
        torch.testing.assert_close(got, expected.repeat(copies, 1), atol=atol, rtol=0)
    # Nor does a component without weight make one scored.
    rewards = torch.tensor([[[0.0, 5.0], [1.0, 6.0], [NAN, 7.0]]])
    got = advantages(rewards, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(got, expected, atol=atol, rtol=0)


@given(batches())
def test_rows_sum_to_zero(batch) -> None:
    for advantages in GROUPED:
        got = advantages(*batch)
        assert got.isfinite().all(), advantages
        torch.testing.assert_close(got.sum(dim=1), torch.zeros(len(got)), atol=1e-4, rtol=0)


@given(batches())
def test_reinforce_pp_sums_to_zero_over_the_batch(batch) -> None:
    got = reinforce(*batch)
    assert got.isfinite().all()
    assert got.sum().item() == pytest.approx(0, abs=1e-4)


@whitened
@given(batches())
def test_whitened_advantages_have_std_one(advantages, batch) -> None:
    rewards, weights = batch
    got = advantages(*batch)
    scored = (~rewards.isnan() & (weights != 0)).any(dim=2)
    std = got[scored].square().mean().sqrt().item() if scored.any() else 0.0
    assert std == pytest.approx(1, abs=1e-4) or not got.any()


@given(batches(), st.integers(-20, 20))
def test_shifting_every_reward_changes_nothing(batch, shift) -> None:
    rewards, weights = batch
    for advantages in EVERY:
        atol = 1e-3 if advantages in WITHIN else 1e-2
        torch.testing.assert_close(
            advantages(rewards + shift, weights), advantages(rewards, weights), atol=atol, rtol=1e-3
        )


@given(batches(), st.randoms(use_true_random=False))
def test_siblings_and_prompts_have_no_order(batch, random) -> None:
    rewards, weights = batch
    siblings, prompts = list(range(rewards.shape[1])), list(range(rewards.shape[0]))
    random.shuffle(siblings)
    random.shuffle(prompts)
    for advantages in EVERY:
        torch.testing.assert_close(
            advantages(rewards[prompts][:, siblings], weights),
            advantages(rewards, weights)[prompts][:, siblings],
        )


@pytest.mark.parametrize("advantages", [*WITHIN, c_gdpo])
@given(batches())
def test_groups_do_not_see_each_other_without_whitening(advantages, batch) -> None:
    rewards, weights = batch
    alone = torch.cat([advantages(group[None], weights) for group in rewards])
    torch.testing.assert_close(advantages(rewards, weights), alone)


@given(batches(), st.sampled_from([0.5, 3.0, 100.0]))
def test_gdpo_does_not_see_a_component_s_scale(batch, scale) -> None:
    rewards, weights = batch
    rescaled = rewards.double() * torch.tensor([scale, *[1.0] * (rewards.shape[2] - 1)])
    torch.testing.assert_close(
        bare(rescaled, weights), bare(rewards.double(), weights), atol=1e-4, rtol=1e-4
    )


def test_scaling_every_reward_changes_only_what_is_not_normalized() -> None:
    rewards = torch.tensor([[[0.0], [1.0], [5.0]]])
    normalized = exact_grpo(rewards, ONE)
    rescaled = exact_grpo(3 * rewards, ONE)
    torch.testing.assert_close(rescaled, normalized)
    torch.testing.assert_close(dr_grpo(3 * rewards, ONE), 3 * dr_grpo(rewards, ONE))


@grouped
@pytest.mark.parametrize("value", [0.1, -0.3, 1e3, NAN])
def test_a_group_without_signal_is_exactly_zero(advantages, value) -> None:
    rewards = torch.stack([torch.full((7, 2), value), torch.rand(7, 2)])
    got = advantages(rewards, torch.tensor([0.7, 0.1]))
    assert got[0].eq(0).all()
    assert got[1].ne(0).any()


@every
@pytest.mark.parametrize("value", [0.1, -0.3, 1e3, NAN])
def test_a_batch_without_signal_is_exactly_zero(advantages, value) -> None:
    assert advantages(torch.full((3, 7, 2), value), torch.tensor([0.7, 0.1])).eq(0).all()


@pytest.mark.parametrize("advantages", [*WITHIN, baseline])
def test_rounding_is_not_taken_for_a_signal(advantages) -> None:
    # Totals of 0.1 + 0.2 and 0.3 + 0.0 differ in float32, not in meaning.
    rewards = torch.tensor(
        [[[0.1, 0.2], [0.3, 0.0], [0.2, 0.1]], [[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]]
    )
    got = advantages(rewards, torch.ones(2))
    assert got[0].eq(0).all()
    assert got[1].ne(0).all()


@every
def test_a_component_without_weight_is_only_watched(advantages) -> None:
    rewards = torch.tensor([[[1.0, 5.0], [1.0, -5.0]]])
    assert advantages(rewards, torch.tensor([1.0, 0.0])).eq(0).all()


@grouped
def test_a_group_of_one_is_refused(advantages) -> None:
    with pytest.raises(ValueError, match="group of one has no siblings"):
        advantages(torch.zeros(4, 1, 1), ONE)


def test_reinforce_pp_needs_no_siblings_but_a_batch() -> None:
    got = reinforce(torch.tensor([[[0.0]], [[2.0]], [[NAN]]]), ONE)
    torch.testing.assert_close(got, torch.tensor([[-1.0], [1.0], [0.0]]), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="batch of one rollout"):
        reinforce(torch.zeros(1, 1, 1), ONE)


@every
def test_inputs_are_not_modified(advantages) -> None:
    rewards, weights = torch.tensor([[[1.0, NAN], [0.0, 2.0]]]), torch.tensor([1.0, 0.5])
    before = rewards.clone(), weights.clone()
    advantages(rewards, weights)
    torch.testing.assert_close(rewards, before[0], equal_nan=True)
    torch.testing.assert_close(weights, before[1])


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


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([[1.0, 2.0]], "returns list; return a tensor"),
        (torch.tensor([[1.0, NAN]]), "returns what is no finite number"),
        (torch.tensor([[1.0, float("inf")]]), "returns what is no finite number"),
    ],
)
def test_advantages_of_one_s_own_are_finite_tensors(returned: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compute_advantages(lambda r, w: returned, torch.zeros(1, 2, 1), ONE)
