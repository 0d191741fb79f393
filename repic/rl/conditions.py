"""Rewards that count only where another one is high enough.

GDPO, https://arxiv.org/abs/2601.05242, equation 8: an easy reward that is conditioned on a hard one
cannot be collected in its place, which a small weight alone does not prevent. Deviations:

1. A condition on a component that does not apply (NaN) takes no part: the reward stays as it is.
2. Conditions look at the raw components, so their order does not matter.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor


class Condition(NamedTuple):
    """A component counts where another one is at least so much."""

    component: str
    on: str
    at_least: float


def read_conditions(
    settings: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> tuple[Condition, ...]:
    """Check ``{component: {on: other, at_least: number}}`` against the components there are.

    Example:
        >>> read_conditions({"fluency": {"on": "truth", "at_least": 0.5}}, ["truth", "fluency"])
        (Condition(component='fluency', on='truth', at_least=0.5),)
    """
    conditions = []
    for component, setting in settings.items():
        place = f"phase.grpo.conditions.{component}"
        if set(setting) != {"on", "at_least"}:
            raise ValueError(f"{place}: give `on` and `at_least`, not {', '.join(setting)}")
        for name in (component, setting["on"]):
            if name not in names:
                raise ValueError(
                    f"{place}: no reward yields {name!r}; there are {', '.join(names)}"
                )
        if component == setting["on"]:
            raise ValueError(f"{place}: a component cannot be conditioned on itself")
        conditions.append(Condition(component, setting["on"], float(setting["at_least"])))
    return tuple(conditions)


def conditioned_rewards(
    rewards: Float[Tensor, "B G K"], names: Sequence[str], conditions: Sequence[Condition]
) -> Float[Tensor, "B G K"]:
    """Set a component to 0 where its condition does not hold.

    Args:
        rewards: raw components, NaN where one does not apply; those stay NaN.
        names: of the components. A conditioned one should not be negative: 0 would be a prize.
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
        is_unmet = rewards[..., names.index(condition.on)] < condition.at_least  # NaN: False
        component = result[..., names.index(condition.component)]
        component.masked_fill_(is_unmet & ~component.isnan(), 0.0)
    return result


def condition_diagnostics(
    rewards: Float[Tensor, "B G K"], names: Sequence[str], conditions: Sequence[Condition]
) -> dict[str, float]:
    """Say how often conditions hold, and what their components were before.

    Keys, for each conditioned component: ``grpo/condition_met_frac/<name>``, the share of rollouts
    with the component that kept it; ``grpo/raw_reward/<name>``, its mean without the condition.
    """
    numbers: dict[str, float] = {}
    for component, on, at_least in conditions:
        values = rewards[..., names.index(component)]
        is_unmet = (rewards[..., names.index(on)] < at_least)[~values.isnan()]
        if len(is_unmet):
            numbers[f"grpo/condition_met_frac/{component}"] = (~is_unmet).float().mean().item()
            numbers[f"grpo/raw_reward/{component}"] = values.nanmean().item()
    return numbers
