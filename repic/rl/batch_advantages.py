"""Advantages that are scaled by statistics of the whole batch, or component by component.

The caller passes the prompts of ALL ranks, so that a batch's statistics are the batch's. As in
``advantages.py``, NaN components take no part, and a std is the population std. Deviations:

1. Batch statistics are over rollouts, each counting once; verl's and OpenRLHF's are over tokens,
   which shifts advantages by length. For the same reason there is one reward at the end of a
   rollout, and no discount.
2. Whitening divides by the std and subtracts no mean: that of centred rewards is zero already, and
   a group without signal stays exactly zero.
3. A rollout to which no weighted component applies is left out of the statistics and gets 0.
"""

from jaxtyping import Bool, Float, Float64
from torch import Tensor

from repic.rl.advantages import NO_SPREAD, deviations, refuse_lone


def reinforce_pp_advantages(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, eps: float
) -> Float[Tensor, "B G"]:
    """Whiten the weighted rewards over the batch, whoever is whose sibling.

    REINFORCE++, https://arxiv.org/abs/2501.03262. A group of one is allowed.

    Args:
        rewards: raw components of the whole batch.
        weights: one for each component.
        eps: added to the batch's std, in units of the reward.

    Returns:
        Advantages. They sum to zero over the batch, and not over a group: an easy prompt's
        rollouts may all be above the mean. A constant batch is exactly zero.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[[0.0]], [[2.0]]])
        >>> reinforce_pp_advantages(rewards, torch.ones(1), eps=0.0)
        tensor([[-1.],
                [ 1.]])
    """
    if rewards.shape[0] * rewards.shape[1] < 2:
        raise ValueError(
            "phase.grpo.group_size: a batch of one rollout has nothing to be compared with, its"
            " advantage would be 0 and nothing would be learned; use more prompts or a larger group"
        )
    parts, applies = deviations(rewards, weights, over=(0, 1))
    totals = parts @ weights.double()
    return whiten(totals, applies.any(dim=2), eps=eps).to(rewards.dtype)


def reinforce_pp_baseline_advantages(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, eps: float
) -> Float[Tensor, "B G"]:
    """Centre the weighted rewards within each group, then scale by the batch's std.

    REINFORCE++-baseline, https://arxiv.org/abs/2501.03262. Unlike GRPO's, an almost
    constant group is not blown up to the size of the others.

    Args:
        rewards: raw components of the whole batch.
        weights: one for each component.
        eps: added to the batch's std, in units of the reward.

    Returns:
        Advantages. Each row sums to zero; a group without signal is exactly zero.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[[0.0], [2.0]], [[3.0], [3.0]]])
        >>> reinforce_pp_baseline_advantages(rewards, torch.ones(1), eps=0.0)
        tensor([[-1.4142,  1.4142],
                [ 0.0000,  0.0000]])
    """
    refuse_lone(rewards)
    parts, applies = deviations(rewards, weights, over=(1,))
    totals = parts @ weights.double()
    totals = totals.masked_fill(_spread(totals) < NO_SPREAD, 0.0)
    return whiten(totals, applies.any(dim=2), eps=eps).to(rewards.dtype)


def gdpo_advantages(
    rewards: Float[Tensor, "B G K"],
    weights: Float[Tensor, " K"],
    *,
    is_whitened: bool,
    min_std: float,
    eps: float,
) -> Float[Tensor, "B G"]:
    """Normalize each component within its group, then add them up with their weights.

    GDPO, https://arxiv.org/abs/2601.05242, equations 4, 5 and 7, and 6 with ``is_whitened``. The
    weights act on components of equal size, whatever the scale of the raw ones. c-GDPO, BalCapRL,
    https://arxiv.org/abs/2605.07394, is the same for continuous rewards.

    Args:
        rewards: raw components of the whole batch.
        weights: one for each component.
        is_whitened: divide the sums by their std over the batch, so that the size of a step does
            not depend on how many components there are.
        min_std: in units of the raw components: one that differs less within a group is divided
            by this, so that a judge's noise on equal captions is not scaled into a signal.
        eps: added to every std that is divided by.

    Returns:
        Advantages. Each row sums to zero; a group in which no weighted component differs is
        exactly zero. One with equal totals and different parts is not.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[[0.0, 0.0], [1.0, 100.0]]])
        >>> gdpo_advantages(rewards, torch.ones(2), is_whitened=False, min_std=0.0, eps=0.0)
        tensor([[-2.,  2.]])
    """
    refuse_lone(rewards)
    totals = gdpo_parts(rewards, weights, min_std=min_std, eps=eps).sum(dim=2)
    if is_whitened:
        is_scored = (~rewards.isnan() & (weights != 0)).any(dim=2)
        totals = whiten(totals, is_scored, eps=eps)
    return totals.to(rewards.dtype)


def gdpo_parts(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, min_std: float, eps: float
) -> Float64[Tensor, "B G K"]:
    """Normalize each component within its group and multiply it by its weight.

    See ``gdpo_advantages`` for the arguments. 0 where a component takes no part.
    """
    parts, applies = deviations(rewards, weights, over=(1,))
    std = _std(parts, applies, over=(1,)).clamp(min=min_std)
    normalized = (parts / (std + eps)).masked_fill(_spread(parts) < NO_SPREAD, 0.0)
    return normalized * weights


def whiten(
    centred: Float[Tensor, "B G"], is_scored: Bool[Tensor, "B G"], *, eps: float
) -> Float[Tensor, "B G"]:
    """Divide values whose mean is zero by their std over the batch, plus ``eps``.

    Args:
        centred: 0 where nothing was scored.
        is_scored: which rollouts count.
    """
    std = _std(centred, is_scored, over=(0, 1))
    return (centred / (std + eps)).masked_fill(std < NO_SPREAD, 0.0)


def _std(centred: Tensor, counts: Tensor, *, over: tuple[int, ...]) -> Tensor:
    """Population std, along some axes, of values whose mean is zero; kept as axes of size 1."""
    number = counts.sum(dim=over, keepdim=True).clamp(min=1)
    return (centred.square().sum(dim=over, keepdim=True) / number).sqrt()


def _spread(centred: Tensor) -> Tensor:
    """Largest minus smallest value of every group."""
    return centred.amax(dim=1, keepdim=True) - centred.amin(dim=1, keepdim=True)
