"""Which components of the reward a policy learns from, and which of them pull against each other.

A component that is hacked is easy to collect: its share of the advantages grows, and its
correlation with what it is paid at the expense of turns negative, long before totals look odd.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

from jaxtyping import Float, Float64
from torch import Tensor

from repic.rl.advantages import NO_SPREAD, deviations
from repic.rl.batch_advantages import gdpo_advantages, gdpo_parts, reinforce_pp_advantages

Function = Callable[[Tensor, Tensor], Tensor]


def component_diagnostics(
    rewards: Float[Tensor, "B G K"],
    weights: Float[Tensor, " K"],
    names: Sequence[str],
    *,
    advantages: Float[Tensor, "B G"],
    parts: Float64[Tensor, "B G K"],
) -> dict[str, float]:
    """Say what each weighted component does in an iteration.

    Keys:
        - ``grpo/advantage_share/<name>``: see ``advantage_shares``; none if all advantages are 0.
        - ``grpo/reward_corr/<a>/<b>``: see ``reward_correlations``; one for every pair of weighted
          components that both differ within some group. Pairs, since a mean over the others
          would hide a component that goes with one of them and fights another.

    Args:
        rewards: raw components, NaN where one does not apply.
        weights: one for each component; those of weight 0 have no keys.
        names: of the components.
        advantages: what became of them.
        parts: what was added up on the way; see ``advantage_components``.
    """
    weighted = [k for k, weight in enumerate(weights.tolist()) if weight]
    shares = advantage_shares(parts, advantages).tolist()
    correlations = reward_correlations(rewards, weights).tolist()
    numbers = {f"grpo/advantage_share/{names[k]}": shares[k] for k in weighted}
    for a, b in combinations(weighted, 2):
        numbers[f"grpo/reward_corr/{names[a]}/{names[b]}"] = correlations[a][b]
    return {key: value for key, value in numbers.items() if value == value}  # no NaN


def advantage_components(function: Function) -> Callable[..., Float64[Tensor, "B G K"]]:
    """Return what an advantage function adds up: (rewards, weights) to [B, G, K].

    GDPO adds up components that are normalized one by one. All others centre the weighted sum,
    within groups or (REINFORCE++) over the batch, and may scale it afterwards; that is to add up
    the components' weighted deviations. Like the advantages, they need the batch of ALL ranks.
    """
    if isinstance(function, partial) and function.func is gdpo_advantages:
        kept = {key: function.keywords[key] for key in ("min_std", "eps")}
        return partial(gdpo_parts, **kept)
    if isinstance(function, partial) and function.func is reinforce_pp_advantages:
        return partial(weighted_deviations, over=(0, 1))
    return partial(weighted_deviations, over=(1,))


def weighted_deviations(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, over: tuple[int, ...]
) -> Float64[Tensor, "B G K"]:
    """Each component minus its mean ``over`` some axes, times its weight; 0 where it is NaN."""
    return deviations(rewards, weights, over=over)[0] * weights


def advantage_shares(
    parts: Float64[Tensor, "B G K"], advantages: Float[Tensor, "B G"]
) -> Float64[Tensor, " K"]:
    """Each component's share of the variance of advantages.

    Advantages are a sum of contributions: A = Σₖ cₖ, hence Var(A) = Σₖ Cov(cₖ, A), and the share
    of component k is Cov(cₖ, A) / Var(A): the "natural decomposition" of Shorrocks, Inequality
    decomposition by factor components, Econometrica 50 (1982). Shares add up to 1; a negative one
    is a component that the others outvote, and then another's may exceed 1.

    A group's contributions are its ``parts`` times what scales their sum to its advantages (for
    GRPO, 1 / std). The advantages themselves tell that factor: ΣA² / Σₖ Σ(pₖ A) over the group.

    Args:
        parts: what was added up, before it was scaled; see ``advantage_components``.
        advantages: what became of it; their mean is 0.

    Returns:
        Shares. NaN if no group has a signal.

    Example:
        >>> import torch
        >>> parts = torch.tensor([[[3.0, 1.0], [-3.0, -1.0]]], dtype=torch.float64)
        >>> advantage_shares(parts, torch.tensor([[1.0, -1.0]]))
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    along = (parts * advantages[:, :, None]).sum(dim=1)  # [B, K]
    sizes, totals = advantages.double().square().sum(dim=1), along.sum(dim=1)
    has_signal = totals > 0
    scales = sizes[has_signal] / totals[has_signal]
    return (along[has_signal] * scales[:, None]).sum(dim=0) / sizes[has_signal].sum()


def reward_correlations(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"]
) -> Float64[Tensor, "K K"]:
    """Correlate what components contribute, within groups.

    Pearson's, of values minus their group's mean, pooled over groups: whether siblings that do
    better in one also do better in the other, whatever prompts are easy. Rollouts to which both
    apply count. A negative weight turns a component's sign round, so below 0 always means that two
    pull in opposite directions.

    Returns:
        Numbers in [-1, 1]; NaN where one of the two nowhere differs within a group by 1e-6 or more.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[[0.0, 5.0], [1.0, 3.0]], [[9.0, 0.0], [8.0, 2.0]]])
        >>> reward_correlations(rewards, torch.ones(2))[0, 1].item()
        -1.0
    """
    applies = ~rewards.isnan()
    both = applies[..., :, None] & applies[..., None, :]  # [B, G, K, K]
    values = (rewards.double().nan_to_num(nan=0.0) * weights.sign())[..., None] * both
    means = values.sum(dim=1, keepdim=True) / both.sum(dim=1, keepdim=True).clamp(min=1)
    centred = (values - means) * both  # at [a, b]: of a, where b applies too
    spread = centred.amax(dim=1, keepdim=True) - centred.amin(dim=1, keepdim=True)
    centred = centred.masked_fill(spread < NO_SPREAD, 0.0)
    covariance = (centred * centred.transpose(2, 3)).sum(dim=(0, 1))
    variance = centred.square().sum(dim=(0, 1))
    return (covariance / (variance * variance.T).sqrt()).clamp(-1.0, 1.0)  # NaN: 0 / 0
