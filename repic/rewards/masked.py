"""Rewards by a source that is asked about many captions at a time, and may fail to answer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch

from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout
from repic.values import Tasks

J = TypeVar("J")  # a judgement on one caption
J_co = TypeVar("J_co", covariant=True)


@runtime_checkable
class RewardSource(Protocol[J_co]):
    """Judges captions: by rule, or by asking a model."""

    def applies(self, example: Example) -> bool:
        """Whether captions of this example can be judged."""
        ...

    def assess(self, captions: Sequence[str], examples: Sequence[Example]) -> Sequence[J_co]:
        """Judge captions, each with its example."""
        ...

    def take_counts(self) -> Mapping[str, float]:
        """What that has taken since the last call; nothing, if no one is asked."""
        ...


class MaskedReward(ABC, Generic[J]):
    """Components that are NaN where the source does not apply, and failed where it has no answer.

    Args:
        source: of the judgements.
        tasks: the tasks whose answers are captions; elsewhere every component is NaN.
    """

    components: tuple[str, ...]

    def __init__(self, *, source: RewardSource[J], tasks: Tasks) -> None:
        self.source, self.tasks = source, frozenset(tasks)

    @abstractmethod
    def numbers(self, judgement: J) -> Sequence[float | None]:
        """For each component a number, NaN where it does not apply, None where none was had."""

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        asked = [
            i
            for i, rollout in enumerate(rollouts)
            if rollout.example.task in self.tasks and self.source.applies(rollout.example)
        ]
        mine = [rollouts[i] for i in asked]
        shape = (len(rollouts), len(self.components))
        values, failed = torch.full(shape, float("nan")), torch.zeros(shape, dtype=torch.bool)
        judged = self.source.assess([r.text for r in mine], [r.example for r in mine])
        for i, judgement in zip(asked, judged, strict=True):
            row = self.numbers(judgement)
            failed[i] = torch.tensor([value is None for value in row])
            values[i] = torch.tensor([float("nan") if value is None else value for value in row])
        return RewardBatch(self.components, values, failed)

    def take_counts(self) -> Mapping[str, float]:
        return self.source.take_counts()
