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

from repic.rl.advantages import NO_SPREAD, Advantages, deviations, refuse_lone, spread


def reinforce_pp_advantages(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, eps: float
) -> Advantages:
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
        >>> reinforce_pp_advantages(rewards, torch.ones(1), eps=0.0).values
        tensor([[-1.],
                [ 1.]])
    """
    if rewards.shape[0] * rewards.shape[1] < 2:
        raise ValueError(
            "phase.grpo.group_size: a batch of one rollout has nothing to be compared with, its"
            " advantage would be 0 and nothing would be learned; use more prompts or a larger group"
        )
    centred, applies = deviations(rewards, weights, over=(0, 1))
    components = _whitened(centred * weights, applies.any(dim=2), eps=eps)
    return Advantages.sum_of(components, rewards.dtype)


def reinforce_pp_baseline_advantages(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, eps: float
) -> Advantages:
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
        >>> reinforce_pp_baseline_advantages(rewards, torch.ones(1), eps=0.0).values
        tensor([[-1.4142,  1.4142],
                [ 0.0000,  0.0000]])
    """
    refuse_lone(rewards)
    centred, applies = deviations(rewards, weights, over=(1,))
    components = centred * weights
    is_constant = spread(components.sum(dim=2)) < NO_SPREAD
    components = components.masked_fill(is_constant[..., None], 0.0)
    components = _whitened(components, applies.any(dim=2), eps=eps)
    return Advantages.sum_of(components, rewards.dtype)


def gdpo_advantages(
    rewards: Float[Tensor, "B G K"],
    weights: Float[Tensor, " K"],
    *,
    is_whitened: bool,
    min_std: float,
    eps: float,
) -> Advantages:
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
        Advantages. Each row sums to zero; a group in which no weighted component differs, or in
        which the normalized ones cancel, is exactly zero. One with equal totals and different
        parts is not.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> rewards = torch.tensor([[[0.0, 0.0], [1.0, 100.0]]])
        >>> plain = partial(gdpo_advantages, is_whitened=False, min_std=0.0, eps=0.0)
        >>> plain(rewards, torch.ones(2)).values
        tensor([[-2.,  2.]])
    """
    refuse_lone(rewards)
    centred, applies = deviations(rewards, weights, over=(1,))
    std = _std(centred, applies, over=(1,)).clamp(min=min_std) + eps
    is_constant = spread(centred) < NO_SPREAD
    components = (centred / std).masked_fill(is_constant, 0.0) * weights
    # Components that cancel leave the rounding of the raw ones, which was scaled as they were.
    rounding = (NO_SPREAD * weights.abs() / std).masked_fill(is_constant, 0.0).sum(dim=2)
    cancels = spread(components.sum(dim=2)) < rounding
    components = components.masked_fill(cancels[..., None], 0.0)
    if is_whitened:
        components = _whitened(components, applies.any(dim=2), eps=eps)
    return Advantages.sum_of(components, rewards.dtype)


def _whitened(
    components: Float64[Tensor, "B G K"], is_scored: Bool[Tensor, "B G"], *, eps: float
) -> Float64[Tensor, "B G K"]:
    """Divide components by the std of their sums over the batch, plus ``eps``.

    Args:
        components: with sums whose mean is zero; 0 where nothing was scored.
        is_scored: which rollouts count.
    """
    std = _std(components.sum(dim=2), is_scored, over=(0, 1))[..., None]
    return (components / (std + eps)).masked_fill(std < NO_SPREAD, 0.0)


def _std(centred: Tensor, counts: Tensor, *, over: tuple[int, ...]) -> Tensor:
    """Population std, along some axes, of values whose mean is zero; kept as axes of size 1."""
    number = counts.sum(dim=over, keepdim=True).clamp(min=1)
    return (centred.square().sum(dim=over, keepdim=True) / number).sqrt()
