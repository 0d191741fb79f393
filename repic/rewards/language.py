"""Is it well written? The mean of clarity, fluency and coherence, whoever judges them.

BalCapRL's linguistic quality, https://arxiv.org/abs/2605.07394. Its judge's scale is not known;
here each of the three is in [0, 1]. Who judges is a ``LanguageSource``: ``language_rules``, or
``judged``, a model.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from repic.judges.questions import LanguageScores
from repic.rewards.masked import Answers, score_where_it_applies
from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout

_PARTS = ("clarity", "fluency", "coherence")


@runtime_checkable
class LanguageSource(Protocol):
    """Judges how captions are written, many at a time."""

    def applies(self, example: Example) -> bool:
        """Whether captions of this example can be judged."""
        ...

    def scores(
        self, captions: Sequence[str], examples: Sequence[Example]
    ) -> Sequence[LanguageScores | None]:
        """Judge captions, each with its example; None where no judgement could be had."""
        ...

    def take_counts(self) -> Mapping[str, float]:
        """What that has taken since the last call; nothing, if no one is asked."""
        ...


class LanguageReward:
    """Component ``language``, and its three parts, which are measured; each in [0, 1].

    The parts are called ``language_clarity`` and so on, as ``QualityReward`` has a ``fluency`` of
    its own. All are NaN where the source does not apply, NaN and failed where it had no answer.

    Args:
        source: of the scores.
        tasks: the tasks whose answers are captions; elsewhere every component is NaN.
    """

    components = ("language", *(f"language_{part}" for part in _PARTS))

    def __init__(self, *, source: LanguageSource, tasks: Collection[str]) -> None:
        self.source, self.tasks = source, frozenset(tasks)

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        return score_where_it_applies(
            rollouts,
            self.components,
            tasks=self.tasks,
            applies=self.source.applies,
            question=self._means,
        )

    def take_counts(self) -> Mapping[str, float]:
        return self.source.take_counts()

    def _means(self, captions: Sequence[str], examples: Sequence[Example]) -> Answers:
        found = self.source.scores(captions, examples)
        nothing = (None,) * len(self.components)
        return [
            nothing if parts is None else (parts.mean, *(getattr(parts, part) for part in _PARTS))
            for parts in found
        ]
