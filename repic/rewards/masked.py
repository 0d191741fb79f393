"""Rewards by a source that is asked about many captions at a time, and may fail to answer."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch

from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout

Answers = Sequence[Sequence[float | None]]


@runtime_checkable
class RewardSource(Protocol):
    """Judges captions: by rule, or by asking a model."""

    def applies(self, example: Example) -> bool:
        """Whether captions of this example can be judged."""
        ...

    def take_counts(self) -> Mapping[str, float]:
        """What that has taken since the last call; nothing, if no one is asked."""
        ...


S = TypeVar("S", bound=RewardSource)


class MaskedReward(ABC, Generic[S]):
    """Components that are NaN where the source does not apply, and failed where it has no answer.

    Args:
        source: of the judgements.
        tasks: the tasks whose answers are captions; elsewhere every component is NaN.
    """

    components: tuple[str, ...]

    def __init__(self, *, source: S, tasks: Collection[str]) -> None:
        self.source, self.tasks = source, frozenset(tasks)

    @abstractmethod
    def ask(self, captions: Sequence[str], examples: Sequence[Example]) -> Answers:
        """Ask about all captions at once.

        Returns:
            A number for each component: NaN where that does not apply, None where it could not
            be had.
        """

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        asked = [
            i
            for i, rollout in enumerate(rollouts)
            if rollout.example.task in self.tasks and self.source.applies(rollout.example)
        ]
        mine = [rollouts[i] for i in asked]
        shape = (len(rollouts), len(self.components))
        values, failed = torch.full(shape, float("nan")), torch.zeros(shape, dtype=torch.bool)
        answers = self.ask([r.text for r in mine], [r.example for r in mine])
        for i, answer in zip(asked, answers, strict=True):
            failed[i] = torch.tensor([value is None for value in answer])
            values[i] = torch.tensor([float("nan") if value is None else value for value in answer])
        return RewardBatch(self.components, values, failed)

    def take_counts(self) -> Mapping[str, float]:
        return self.source.take_counts()
