"""The rubric: several rewards, their raw components, and the weights that add them up.

Components are kept raw, so that the weights can be changed on a saved run without a model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from repic.types import Example, Rollout

TOTAL = "total"  # what diagnostics call the weighted sum; no component may be called so


@runtime_checkable
class Reward(Protocol):
    """Scores a caption: a number for every component, NaN where it does not apply.

    Whether a component applies must follow from the example alone, not from the caption.
    """

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components, in a fixed order."""
        ...

    def __call__(self, caption: str, example: Example) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class RewardBatch:
    """Raw components of N rollouts.

    Attributes:
        names: of the K components.
        values: [N, K], NaN where a component does not apply.
    """

    names: tuple[str, ...]
    values: Float[Tensor, "N K"]

    def totals(self, weights: Float[Tensor, " K"]) -> Float[Tensor, " N"]:
        """Sum weight times component over the components that apply; 0 where none does."""
        return (self.values * weights).nansum(dim=1)

    def breakdown(self, index: int) -> dict[str, float | None]:
        """The raw components of one rollout, None where one does not apply (as JSON has it)."""
        values = self.values[index].tolist()
        return {
            name: None if math.isnan(value) else value
            for name, value in zip(self.names, values, strict=True)
        }


class Rubric:
    """Several rewards and the weights of their components.

    Args:
        rewards: by any name; their components must all have different names.
        weights: by component. One that is not listed has weight 0: it is measured, and not
            trained on. A weight for a component that no reward yields, or one that is not a finite
            number, is a ``ValueError``.
    """

    def __init__(self, rewards: Mapping[str, Reward], weights: Mapping[str, object]) -> None:
        self.rewards = dict(rewards)
        self.names = tuple(name for r in self.rewards.values() for name in r.components)
        twice = {name for name in self.names if self.names.count(name) > 1 or name == TOTAL}
        if twice:
            raise ValueError(
                f"reward.rewards: component {min(twice)!r} is yielded twice, or is called 'total'"
            )
        checked = {
            name: _check_weight(name, weight, self.names) for name, weight in weights.items()
        }
        self.weights: Float[Tensor, " K"] = torch.tensor([checked.get(n, 0.0) for n in self.names])

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        """Score every rollout with every reward.

        Example:
            ``rubric.score(rollouts).values.view(num_prompts, group_size, -1)`` is what
            ``rl.advantages`` takes, with ``rubric.weights``.
        """
        rows = [self._row(rollout) for rollout in rollouts]
        return RewardBatch(self.names, torch.tensor(rows).view(len(rows), len(self.names)))

    def _row(self, rollout: Rollout) -> list[float]:
        parts: dict[str, float] = {}
        for key, reward in self.rewards.items():
            scored = reward(rollout.text, rollout.example)
            assert set(scored) == set(reward.components), f"reward {key} yields {set(scored)}"
            parts.update(scored)
        # An infinite reward would make every sibling's advantage NaN.
        assert not any(map(math.isinf, parts.values())), f"{rollout.example.id}: {parts}"
        return [parts[name] for name in self.names]


def _check_weight(name: str, weight: object, names: tuple[str, ...]) -> float:
    """A weight as a number, or the reason why it cannot be one."""
    if name not in names:
        raise ValueError(
            f"reward.weights.{name}: no reward yields this component; there are {', '.join(names)}"
        )
    # bool is a number to Python, and "true" is a typo for a weight.
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise ValueError(f"reward.weights.{name}: {weight!r} is not a finite number")
    return float(weight)
