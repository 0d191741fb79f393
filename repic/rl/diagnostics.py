"""What to watch while a policy learns from groups."""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Integer
from torch import Tensor

from repic.rl.advantages import NO_SPREAD


def group_diagnostics(
    rewards: Float[Tensor, "B G K"],
    weights: Float[Tensor, " K"],
    names: Sequence[str],
    *,
    lengths: Integer[Tensor, "B G"],
    is_finished: Bool[Tensor, "B G"],
    entropy: Float[Tensor, ""],
) -> dict[str, float]:
    """Summarize one iteration's rollouts.

    Keys:
        - ``grpo/reward/total``, ``grpo/reward_std/total``: mean over rollouts of the weighted sum,
          and its std WITHIN a group (population), averaged over groups: what GRPO learns from.
        - ``grpo/reward/<name>``, ``grpo/reward_std/<name>``: the same of a raw component.
        - ``grpo/zero_variance_frac/total`` and ``.../<name>``: share of groups without any
          difference in it. ``.../vector``: share of groups in which no weighted component differs;
          a group may have equal totals and still differ in the parts.
        - ``grpo/length``: mean tokens of a completion; ``grpo/finished_frac``: share that ended by
          themselves; ``grpo/entropy``: nats per token.

    A component that applies to no rollout of the batch (all NaN) has no keys; a group to which it
    does not apply is left out of its std and of its share.

    Args:
        rewards: raw components, NaN where one does not apply.
        weights: one for each component.
        names: of the components.
        lengths: tokens of every completion.
        is_finished: whether it ended with the end token.
        entropy: of the policy, mean over sampled tokens.
    """
    totals = (rewards.nan_to_num(nan=0.0) * weights).sum(dim=2)
    numbers = _spread_numbers("total", totals)
    for name, values in zip(names, rewards.unbind(dim=2), strict=True):
        if not values.isnan().all():
            numbers |= _spread_numbers(name, values)
    return numbers | {
        "grpo/zero_variance_frac/vector": _is_constant(rewards, weights).float().mean().item(),
        "grpo/length": lengths.float().mean().item(),
        "grpo/finished_frac": is_finished.float().mean().item(),
        "grpo/entropy": entropy.item(),
    }


def _is_constant(rewards: Tensor, weights: Tensor) -> Tensor:
    """Which groups [B] differ in no weighted component."""
    return ((_ranges(rewards) < NO_SPREAD) | (weights == 0)).all(dim=1)


def _spread_numbers(name: str, values: Tensor) -> dict[str, float]:
    """Mean, mean std within groups and share of constant groups of one quantity [B, G]."""
    groups = values[~values.isnan().all(dim=1)]
    centred = groups - groups.nanmean(dim=1, keepdim=True)
    return {
        f"grpo/reward/{name}": values.nanmean().item(),
        f"grpo/reward_std/{name}": centred.square().nanmean(dim=1).sqrt().mean().item(),
        f"grpo/zero_variance_frac/{name}": (_ranges(groups) < NO_SPREAD).float().mean().item(),
    }


def _ranges(values: Tensor) -> Tensor:
    """Largest minus smallest number of every group (axis 1); below zero where all are NaN."""
    highest = values.nan_to_num(nan=float("-inf")).amax(dim=1)
    return highest - values.nan_to_num(nan=float("inf")).amin(dim=1)
