"""Advantages of rollouts, from raw reward components and weights.

``rewards`` [B, G, K] holds raw components; NaN means that a component does not apply. A component
takes part only where it is a number: its mean is taken over those rollouts of the group, and a
rollout without it gains and loses nothing by that. For components that apply to a whole group or
to none of it, this is the same as centring the weighted sum.

A function of (rewards, weights) returns ``Advantages``, or a plain tensor [B, G]. Its rewards are
those of the prompts of ALL ranks, so that a batch's statistics are the batch's. A std is the
population std. Deviations of those that look at the whole batch (REINFORCE++, GDPO):

1. Batch statistics are over rollouts, each counting once; verl's and OpenRLHF's are over tokens,
   which shifts advantages by length. For the same reason there is one reward at the end of a
   rollout, and no discount.
2. Whitening divides by the std and subtracts no mean: that of centred rewards is zero already, and
   a group without signal stays exactly zero.
3. A rollout to which no weighted component applies is left out of the statistics and gets 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from repic.values import NonNegative

# Rewards are float32 numbers of order one; a smaller spread within a group is rounding.
NO_SPREAD = 1e-6


@dataclass(frozen=True)
class Advantages:
    """One number for each rollout, and what it is the sum of.

    Attributes:
        values: the advantages; a group without signal is exactly zero.
        components: what each reward component adds: their sum over K is ``values``, but for
            rounding. None where the function does not say.
    """

    values: Float[Tensor, "B G"]
    components: Float64[Tensor, "B G K"] | None = None

    @classmethod
    def sum_of(cls, components: Float64[Tensor, "B G K"], dtype: torch.dtype) -> "Advantages":
        """Add components up."""
        return cls(components.sum(dim=2).to(dtype), components)


AdvantageFunction = Callable[[Tensor, Tensor], Advantages | Tensor]


def compute_advantages(
    function: AdvantageFunction, rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"]
) -> Advantages:
    """Call an advantage function; of one that returns a plain tensor no components are known.

    Raises:
        ValueError: the advantages are no finite numbers [B, G], or their components do not add up
            to them.
    """
    result = function(rewards, weights)
    values = result.values if isinstance(result, Advantages) else result
    if not isinstance(values, Tensor):
        raise ValueError(
            f"advantage: the function returns {type(values).__name__}; return a tensor, [B, G], or"
            " repic.rl.advantages.Advantages"
        )
    if values.shape != rewards.shape[:2]:
        raise ValueError(
            f"advantage: the function returns {list(values.shape)} for rewards"
            f" {list(rewards.shape)}; return one number for each rollout, [B, G]"
        )
    if not values.isfinite().all():
        raise ValueError(
            "advantage: the function returns what is no finite number; a reward that does not apply"
            " is NaN, and a rollout to which none applies gets 0"
        )
    advantages = result if isinstance(result, Advantages) else Advantages(values)
    components = advantages.components
    if components is not None:
        gap = (components.sum(dim=2) - values).abs().amax()
        if components.shape != rewards.shape or gap > 1e-4 * (1 + values.abs().amax()):
            raise ValueError(
                "advantage: the function's components do not add up to its values; return what"
                " each component adds, [B, G, K], or the values alone"
            )
    return advantages


def has_signal(advantages: Float[Tensor, "B G"]) -> Bool[Tensor, " B"]:
    """Which groups teach something: an advantage in them is not 0.

    Equal rewards of order one leave less than ``NO_SPREAD`` / 2 when they are centred in float32.
    """
    return advantages.abs().amax(dim=1) >= NO_SPREAD / 2


def group_advantages(
    rewards: Float[Tensor, "B G K"],
    weights: Float[Tensor, " K"],
    *,
    normalize_std: bool,
    eps: NonNegative,
) -> Advantages:
    """Centre (and optionally scale) the weighted rewards within each group.

    GRPO, https://arxiv.org/abs/2402.03300, section 4.1.2, with ``normalize_std``; without it
    Dr. GRPO, https://arxiv.org/abs/2503.20783, section 3.2. The std is the POPULATION std (divided
    by G), of the rollouts to which any weighted component applies. A group whose weighted rewards
    differ by less than 1e-6 is taken for constant, so that rounding is not scaled into a signal.

    Args:
        rewards: raw components; a row [G, K] is one prompt's group.
        weights: one for each component.
        normalize_std: divide by the group's std plus ``eps``; False subtracts the mean only.
        eps: in units of the reward; keeps a nearly constant group from being blown up. Read only
            with ``normalize_std``.

    Returns:
        Advantages. Each row sums to zero; a group without signal is exactly zero.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[[0.0], [1.0]]])
        >>> group_advantages(rewards, torch.ones(1), normalize_std=False, eps=1e-4).values
        tensor([[-0.5000,  0.5000]])
    """
    components, is_scored = _centre(rewards, weights)
    if normalize_std:
        std = _std(components.sum(dim=2), is_scored, over=(1,))
        components = components / (std + eps)[..., None]
    return Advantages.sum_of(components, rewards.dtype)


def rloo_advantages(rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"]) -> Advantages:
    """Each rollout's weighted reward minus the mean of the others' in its group.

    RLOO, https://arxiv.org/abs/2402.14740. It equals G / (G - 1) times the centred
    reward, with G the number of rollouts to which any weighted component applies.

    Args:
        rewards: raw components; a row [G, K] is one prompt's group.
        weights: one for each component.

    Returns:
        Advantages. Each row sums to zero; a group without signal is exactly zero.

    Example:
        >>> import torch
        >>> rloo_advantages(torch.tensor([[[0.0], [1.0], [2.0]]]), torch.ones(1)).values
        tensor([[-1.5000,  0.0000,  1.5000]])
    """
    components, is_scored = _centre(rewards, weights)
    num_scored = is_scored.sum(dim=1)[:, None, None]
    components = components * num_scored / (num_scored - 1).clamp(min=1)
    return Advantages.sum_of(components, rewards.dtype)


def reinforce_pp_advantages(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, eps: NonNegative
) -> Advantages:
    """Whiten the weighted rewards over the batch, whoever is whose sibling.

    REINFORCE++, https://arxiv.org/abs/2501.03262. A group of one is allowed.

    Args:
        rewards: raw components; a row [G, K] is one prompt's group.
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
    centred, applies = _deviations(rewards, weights, over=(0, 1))
    components = _whitened(centred * weights, applies.any(dim=2), eps=eps)
    return Advantages.sum_of(components, rewards.dtype)


def reinforce_pp_baseline_advantages(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, eps: NonNegative
) -> Advantages:
    """Centre the weighted rewards within each group, then scale by the batch's std.

    REINFORCE++-baseline, https://arxiv.org/abs/2501.03262. Unlike GRPO's, an almost
    constant group is not blown up to the size of the others.

    Args:
        rewards: raw components; a row [G, K] is one prompt's group.
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
    components, is_scored = _centre(rewards, weights)
    components = _whitened(components, is_scored, eps=eps)
    return Advantages.sum_of(components, rewards.dtype)


def gdpo_advantages(
    rewards: Float[Tensor, "B G K"],
    weights: Float[Tensor, " K"],
    *,
    is_whitened: bool,
    min_std: NonNegative,
    eps: NonNegative,
) -> Advantages:
    """Normalize each component within its group, then add them up with their weights.

    GDPO, https://arxiv.org/abs/2601.05242, equations 4, 5 and 7, and 6 with ``is_whitened``. The
    weights act on components of equal size, whatever the scale of the raw ones. c-GDPO, BalCapRL,
    https://arxiv.org/abs/2605.07394, is the same for continuous rewards.

    Args:
        rewards: raw components; a row [G, K] is one prompt's group.
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
    centred, applies = _deviations(rewards, weights, over=(1,))
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


def _centre(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"]
) -> tuple[Float64[Tensor, "B G K"], Bool[Tensor, "B G"]]:
    """Weighted components minus their group's mean, and which rollouts have any."""
    refuse_lone(rewards)
    centred, applies = _deviations(rewards, weights, over=(1,))
    components = centred * weights
    is_constant = spread(components.sum(dim=2)) < NO_SPREAD
    return components.masked_fill(is_constant[..., None], 0.0), applies.any(dim=2)


def spread(values: Float[Tensor, "B G *K"]) -> Float[Tensor, "B 1 *K"]:
    """Largest minus smallest value of every group."""
    return values.amax(dim=1, keepdim=True) - values.amin(dim=1, keepdim=True)


def refuse_lone(rewards: Float[Tensor, "B G K"]) -> None:
    """Raise ``ValueError`` where rollouts have no siblings, for algorithms that need them."""
    if rewards.shape[1] < 2:
        raise ValueError(
            "phase.grpo.group_size: a group of one has no siblings to be compared with, every"
            " advantage would be 0 and nothing would be learned; use 2 or more"
        )


def _deviations(
    rewards: Float[Tensor, "B G K"], weights: Float[Tensor, " K"], *, over: tuple[int, ...]
) -> tuple[Float64[Tensor, "B G K"], Bool[Tensor, "B G K"]]:
    """Subtract each component's mean, and say which components take part where.

    Args:
        rewards: raw components, NaN where one does not apply.
        weights: one for each component; one of weight 0 takes no part anywhere.
        over: axes of a mean: (1,) a group, (0, 1) the batch.

    Returns:
        Deviations from the mean over those that take part, 0 for the others.
    """
    applies = ~rewards.isnan() & (weights != 0)
    # Double precision, so that equal rewards leave no residue worth scaling.
    values = rewards.double().masked_fill(~applies, 0.0)
    mean = values.sum(dim=over, keepdim=True) / applies.sum(dim=over, keepdim=True).clamp(min=1)
    return (values - mean).masked_fill(~applies, 0.0), applies


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
