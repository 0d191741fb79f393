"""The rubric: several rewards, their raw components, and the weights that add them up.

Components are kept raw, so that the weights can be changed on a saved run without a model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired, Protocol, TypedDict, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repic.signals import Stopped
from repic.time_limit import OutOfTime, time_limit
from repic.types import Example, Rollout
from repic.values import Number, Seconds, Text, Weight

LARGEST = torch.finfo(torch.float32).max
TOTAL = "total"  # what diagnostics call the weighted sum; no component may be called so


@runtime_checkable
class HasComponents(Protocol):
    """Whatever scores captions, in whichever of the ways below."""

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components, in a fixed order."""
        ...


@runtime_checkable
class Reward(HasComponents, Protocol):
    """Scores a caption: a number for every component, NaN where it does not apply.

    Whether a component applies must follow from the example alone, not from the caption.
    """

    def __call__(self, caption: str, example: Example) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class RewardBatch:
    """Raw components of N rollouts.

    Attributes:
        names: of the K components.
        values: [N, K], NaN where a component does not apply, or could not be had.
        failed: [N, K], where a component should have applied and could not be had (a judge that
            did not answer); None: nowhere.
        fallible: components that may fail, whether they did or not.
    """

    names: tuple[str, ...]
    values: Float[Tensor, "N K"]
    failed: Bool[Tensor, "N K"] | None = None
    fallible: tuple[str, ...] = ()

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

    def failures(self) -> dict[str, float]:
        """Share of rollouts for which a component failed, by component that may."""
        if self.failed is None or not len(self.failed):
            return {}
        shares = dict(zip(self.names, self.failed.float().mean(dim=0).tolist(), strict=True))
        return {name: shares[name] for name in self.fallible}


Logprobs = Sequence[Float[Tensor, " _"]]  # of each completion's tokens


@runtime_checkable
class BatchReward(HasComponents, Protocol):
    """Scores rollouts together: what a model judges, or what needs more than a caption's text."""

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch: ...


@runtime_checkable
class ReferenceReward(HasComponents, Protocol):
    """Scores rollouts by what the frozen reference makes of them."""

    needs_reference: bool

    def score(self, rollouts: Sequence[Rollout], logprobs: Logprobs | None) -> RewardBatch:
        """Score with the log-probabilities of each completion's tokens; None: there are none."""
        ...


Listen = Callable[[Sequence[Rollout]], Logprobs]


@runtime_checkable
class ListeningReward(HasComponents, Protocol):
    """Scores rollouts by what the frozen reference makes of them beside other pictures, too."""

    needs_reference: bool
    listens: bool

    def score(
        self, rollouts: Sequence[Rollout], logprobs: Logprobs | None, listen: Listen | None
    ) -> RewardBatch:
        """Score; ``listen`` gives log-probabilities of any rollouts; None: no reference."""
        ...


@runtime_checkable
class AskingReward(Protocol):
    """Asks somebody who counts what that takes: questions, failures, tokens, dollars."""

    def take_counts(self) -> Mapping[str, float]:
        """Return the counts since the last call; none where nobody was asked."""
        ...


AnyReward = Reward | BatchReward | ReferenceReward | ListeningReward


class ConditionSettings(TypedDict):
    """A component, or several, count where the given one lies within bounds."""

    component: Text | Sequence[Text]
    given: Text
    at_least: NotRequired[Number]
    at_most: NotRequired[Number]


class Rubric:
    """Several rewards and the weights of their components.

    Args:
        rewards: by any name; their components must all have different names.
        weights: by component. One that is not listed has weight 0: it is measured, and not
            trained on. A weight for a component that no reward yields, or one that is not a finite
            number, is a ``ValueError``.
        conditions: under which components count; see ``repic.rl.conditions``. Components stay raw
            here: who learns from them applies the conditions.
        seconds: that a reward which is not this package's may take for a call; None: any time.

    Attributes:
        own: the components of such rewards.
    """

    def __init__(
        self,
        rewards: Mapping[str, AnyReward],
        weights: Mapping[str, Weight],
        conditions: Mapping[str, ConditionSettings] | None = None,
        seconds: Seconds | None = None,
    ) -> None:
        self.rewards, self.seconds = dict(rewards), seconds
        self.conditions = dict(conditions or {})
        self.names = tuple(name for r in self.rewards.values() for name in r.components)
        own = [reward for reward in self.rewards.values() if _is_own(reward)]
        self.own = tuple(name for reward in own for name in reward.components)
        twice = {name for name in self.names if self.names.count(name) > 1 or name == TOTAL}
        if twice:
            raise ValueError(
                f"reward.rubric.rewards: component {min(twice)!r} is yielded twice, or is called"
                " 'total'"
            )
        for name in weights:
            if name not in self.names:
                raise ValueError(
                    f"reward.rubric.weights.{name}: no reward yields this component; there are"
                    f" {', '.join(self.names)}"
                )
        numbers = [float(weights.get(name, 0.0)) for name in self.names]
        self.weights: Float[Tensor, " K"] = torch.tensor(numbers)

    @property
    def needs_reference(self) -> bool:
        """Whether a reward asks what the frozen reference makes of the rollouts."""
        return any(getattr(reward, "needs_reference", False) for reward in self.rewards.values())

    def pays(self, name: str) -> bool:
        """Whether a component has a weight."""
        return bool(self.weights[self.names.index(name)])

    def take_counts(self) -> dict[str, float]:
        """What asking judges has taken since the last call, summed over the rewards that ask."""
        total: dict[str, float] = {}
        for reward in self.rewards.values():
            if isinstance(reward, AskingReward):
                for name, count in reward.take_counts().items():
                    total[name] = total.get(name, 0.0) + count
        return total

    def score(
        self,
        rollouts: Sequence[Rollout],
        logprobs: Logprobs | None = None,
        listen: Listen | None = None,
    ) -> RewardBatch:
        """Score every rollout with every reward.

        Args:
            rollouts: of any prompts.
            logprobs: of each completion's tokens under the frozen reference, where
                ``needs_reference``; None if there is no such model: what needs it does not apply.
            listen: gives the same of other rollouts, for a reward that changes the prompt.

        Raises:
            ValueError: a reward yields what is no number of float32, or other components than it
                says; or one of somebody's own raises, or takes too long.

        Example:
            ``rubric.score(rollouts).values.view(num_prompts, group_size, -1)`` is what
            ``rl.advantages`` takes, with ``rubric.weights``.
        """
        parts = [
            self._score(key, reward, rollouts, logprobs, listen)
            for key, reward in self.rewards.items()
        ] or [RewardBatch((), torch.zeros(len(rollouts), 0))]
        values = torch.cat([part.values for part in parts], dim=1)
        fails = [_nowhere(part) if part.failed is None else part.failed for part in parts]
        fallible = tuple(n for part in parts if part.failed is not None for n in part.names)
        return RewardBatch(self.names, values, torch.cat(fails, dim=1), fallible)

    def _score(
        self,
        key: str,
        reward: AnyReward,
        rollouts: Sequence[Rollout],
        logprobs: Logprobs | None,
        listen: Listen | None,
    ) -> RewardBatch:
        if not _is_own(reward):
            return _check(key, reward, _ask(key, reward, rollouts, logprobs, listen), rollouts)
        late = (
            f"reward {key} took longer than reward.seconds={self.seconds} for"
            f" {len(rollouts)} captions; set that higher, or see what it waits for"
        )
        with time_limit(self.seconds, late):
            try:
                batch = _ask(key, reward, rollouts, logprobs, listen)
            except (KeyboardInterrupt, Stopped, OutOfTime):
                raise
            except BaseException as error:  # whatever a stranger's code may raise, SystemExit too
                if getattr(reward, "is_own", False):  # it says itself what was wrong
                    raise
                raise ValueError(f"reward {key} raised {type(error).__name__}: {error}") from error
        return _check(key, reward, batch, rollouts)


def score_each(
    reward: Reward, rollouts: Sequence[Rollout], key: str = "reward"
) -> Float[Tensor, "N K"]:
    """Score rollouts one by one."""
    rows = []
    for rollout in rollouts:
        scored = reward(rollout.text, rollout.example)
        if set(scored) != set(reward.components):
            raise ValueError(
                f"reward {key} yields {', '.join(scored)}, not {', '.join(reward.components)}"
            )
        rows.append([scored[name] for name in reward.components])
    return torch.tensor(rows, dtype=torch.float64).view(len(rollouts), len(reward.components))


def _ask(
    key: str,
    reward: AnyReward,
    rollouts: Sequence[Rollout],
    logprobs: Logprobs | None,
    listen: Listen | None,
) -> RewardBatch:
    if isinstance(reward, ListeningReward):
        return reward.score(rollouts, logprobs, listen)
    if isinstance(reward, ReferenceReward):
        return reward.score(rollouts, logprobs)
    if isinstance(reward, BatchReward):
        return reward.score(rollouts)
    return RewardBatch(reward.components, score_each(reward, rollouts, key))


def _check(key: str, reward: Any, batch: RewardBatch, rollouts: Sequence[Rollout]) -> RewardBatch:
    """Refuse what is not what the reward says that it yields."""
    names, shape = tuple(reward.components), (len(rollouts), len(reward.components))
    if batch.names != names:
        raise ValueError(f"reward {key} yields {', '.join(batch.names)}, not {', '.join(names)}")
    if batch.values.shape != shape:
        raise ValueError(f"reward {key}: {tuple(batch.values.shape)} numbers, not {shape}")
    # What float32 cannot hold would be infinite, and make every sibling's advantage NaN.
    for rollout, row in zip(rollouts, batch.values.tolist(), strict=True):
        for name, value in zip(names, row, strict=True):
            if abs(value) > LARGEST:
                raise ValueError(
                    f"reward {key} yields {value!r} as {name} of {rollout.example.id}"
                    f" ({rollout.text!r}); it should be a finite number, or NaN where it does not"
                    " apply"
                )
    return replace(batch, values=batch.values.float())


def _is_own(reward: object) -> bool:
    """Whether a reward runs code that is not this package's."""
    is_ours = type(reward).__module__.partition(".")[0] == __name__.partition(".")[0]
    return getattr(reward, "is_own", not is_ours)


def _nowhere(batch: RewardBatch) -> Bool[Tensor, "N K"]:
    return torch.zeros_like(batch.values, dtype=torch.bool)
