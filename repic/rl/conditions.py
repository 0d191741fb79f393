"""Rewards that count only where another component is high enough, or low enough.

GDPO, https://arxiv.org/abs/2601.05242, equation 8: an easy reward that is conditioned on a hard one
cannot be collected in its place, which a small weight alone does not prevent. With a component
that measures length, the same is RePIC's length gate (https://arxiv.org/abs/2506.18369, appendix
B.6) and BalCapRL's length-conditional mask (https://arxiv.org/abs/2605.07394). Deviations:

1. A condition on a component that does not apply (NaN) takes no part: the reward stays as it is.
2. Conditions look at the raw components, so their order does not matter.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Condition(NamedTuple):
    """A component counts where another one, the given, is at least, and at most, so much."""

    component: str
    given: str
    at_least: float = -math.inf
    at_most: float = math.inf


def read_conditions(
    settings: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> tuple[Condition, ...]:
    """Check ``{label: {component: …, given: …, at_least: …, at_most: …}}``.

    Args:
        settings: as they stand in the configuration, with any labels. One of the two bounds may
            be left out; several components may share a condition.
        names: of the components there are.

    Example:
        >>> setting = {"component": "wit", "given": "truth", "at_least": 1}
        >>> read_conditions({"mine": setting}, ["truth", "wit"])
        (Condition(component='wit', given='truth', at_least=1.0, at_most=inf),)
    """
    conditions = []
    for label, setting in settings.items():
        place = f"reward.rubric.conditions.{label}"
        bounds = {key: setting[key] for key in ("at_least", "at_most") if key in setting}
        if not bounds or set(setting) - set(bounds) != {"component", "given"}:
            raise ValueError(
                f"{place}: give `component`, `given`, and `at_least` or `at_most` or both, not"
                f" {', '.join(map(str, setting))}"
            )
        which = setting["component"]
        components = [which] if isinstance(which, str) else list(which)
        for name in (*components, setting["given"]):
            if name not in names:
                raise ValueError(
                    f"{place}: no reward yields {name!r}; there are {', '.join(names)}"
                )
        if setting["given"] in components:
            raise ValueError(f"{place}: a component cannot be conditioned on itself")
        limits = {key: float(value) for key, value in bounds.items()}
        added = [Condition(name, setting["given"], **limits) for name in components]
        if not all(condition.at_least <= condition.at_most for condition in added):
            raise ValueError(f"{place}: nothing is at least {limits['at_least']} and at most less")
        conditions += added
    return tuple(conditions)


def conditioned_rewards(
    rewards: Float[Tensor, "B G K"], names: Sequence[str], conditions: Sequence[Condition]
) -> Float[Tensor, "B G K"]:
    """Set a component to 0 where a condition of it does not hold, if it is not below 0 already.

    What is below 0 stays: 0 would be a prize for breaking the condition.

    Args:
        rewards: raw components, NaN where one does not apply; those stay NaN.
        names: of the components.
        conditions: of ``read_conditions``.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[[0.4, 1.0], [0.6, 0.8]]])
        >>> conditioned_rewards(rewards, ["truth", "fluency"], [Condition("fluency", "truth", 0.5)])
        tensor([[[0.4000, 0.0000],
                 [0.6000, 0.8000]]])
    """
    result = rewards.clone()
    for condition in conditions:
        component = result[..., names.index(condition.component)]
        is_unmet = _is_unmet(condition, rewards, names)
        component.copy_(torch.where(is_unmet, component.clamp(max=0.0), component))
    return result


def condition_diagnostics(
    rewards: Float[Tensor, "B G K"], names: Sequence[str], conditions: Sequence[Condition]
) -> dict[str, float]:
    """Say how often conditions hold, and what their components were before.

    Keys, for each conditioned component: ``grpo/condition_met_frac/<name>``, the share of rollouts
    with the component that kept it; ``grpo/raw_reward/<name>``, its mean without the conditions.
    """
    numbers: dict[str, float] = {}
    for name in dict.fromkeys(condition.component for condition in conditions):
        values = rewards[..., names.index(name)]
        unmet = [_is_unmet(c, rewards, names) for c in conditions if c.component == name]
        is_unmet = torch.stack(unmet).any(dim=0)[~values.isnan()]
        if len(is_unmet):
            numbers[f"grpo/condition_met_frac/{name}"] = (~is_unmet).float().mean().item()
            numbers[f"grpo/raw_reward/{name}"] = values.nanmean().item()
    return numbers


def _is_unmet(condition: Condition, rewards: Tensor, names: Sequence[str]) -> Tensor:
    """Where a condition does not hold [B, G]; one on what does not apply (NaN) always does."""
    given = rewards[..., names.index(condition.given)]
    return (given < condition.at_least) | (given > condition.at_most)
