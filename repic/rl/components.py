"""Which components of the reward a policy learns from, and which of them pull against each other.

A component that is hacked is easy to collect: its share of the advantages grows, and its
correlation with what it is paid at the expense of turns negative, long before totals look odd.
"""

from collections.abc import Sequence
from itertools import combinations

from jaxtyping import Float, Float64
from torch import Tensor

from repic.rl.advantages import NO_SPREAD, Advantages, spread


def component_diagnostics(
    rewards: Float[Tensor, "B G K"],
    weights: Float[Tensor, " K"],
    names: Sequence[str],
    *,
    advantages: Advantages,
) -> dict[str, float]:
    """Say what each weighted component does in an iteration.

    Keys:
        - ``grpo/advantage_share/<name>``: see ``advantage_shares``; none if all advantages are 0,
          or if their function does not say what each component adds.
        - ``grpo/reward_corr/<a>/<b>``: see ``reward_correlations``; one for every pair of weighted
          components that both differ within some group. Pairs, since a mean over the others
          would hide a component that goes with one of them and fights another.

    Args:
        rewards: raw components, NaN where one does not apply.
        weights: one for each component; those of weight 0 have no keys.
        names: of the components.
        advantages: what became of them.
    """
    weighted = [k for k, weight in enumerate(weights.tolist()) if weight]
    numbers: dict[str, float] = {}
    if advantages.components is not None:
        shares = advantage_shares(advantages.components).tolist()
        numbers |= {f"grpo/advantage_share/{names[k]}": shares[k] for k in weighted}
    correlations = reward_correlations(rewards, weights).tolist()
    for a, b in combinations(weighted, 2):
        numbers[f"grpo/reward_corr/{names[a]}/{names[b]}"] = correlations[a][b]
    return {key: value for key, value in numbers.items() if value == value}  # no NaN


def advantage_shares(components: Float64[Tensor, "B G K"]) -> Float64[Tensor, " K"]:
    """Each component's share of the variance of advantages.

    Advantages are a sum of contributions: A = Σₖ cₖ, hence Var(A) = Σₖ Cov(cₖ, A), and the share
    of component k is Cov(cₖ, A) / Var(A): the "natural decomposition" of Shorrocks, Inequality
    decomposition by factor components, Econometrica 50 (1982). Shares add up to 1; a negative one
    is a component that the others outvote, and then another's may exceed 1.

    Args:
        components: of the advantages, whose mean is 0.

    Returns:
        Shares. NaN if no group has a signal.

    Example:
        >>> import torch
        >>> parts = torch.tensor([[[3.0, 1.0], [-3.0, -1.0]]], dtype=torch.float64)
        >>> advantage_shares(parts)
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    advantages = components.sum(dim=2, keepdim=True)
    return (components * advantages).sum(dim=(0, 1)) / advantages.square().sum()  # NaN: 0 / 0


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
    centred = centred.masked_fill(spread(centred) < NO_SPREAD, 0.0)
    covariance = (centred * centred.transpose(2, 3)).sum(dim=(0, 1))
    variance = centred.square().sum(dim=(0, 1))
    return (covariance / (variance * variance.T).sqrt()).clamp(-1.0, 1.0)  # NaN: 0 / 0
