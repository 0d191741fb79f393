"""Is what a caption claims true, and does it claim what it should? BalCapRL's precision and recall.

BalCapRL, https://arxiv.org/abs/2605.07394, decomposes a caption into atomic claims a_1 … a_N and
the reference into units u_1 … u_M:

    precision = #{a_i : verified and pointable} / N        recall = #{u_j covered} / M

A claim is pointable if what it speaks of can be pointed at in the picture: "a red car" can, "this
adds depth to the scene" cannot, and so such remarks lower the precision. Who finds the claims and
judges them is a ``ClaimSource``: ``grammar_claims``, exact, or ``judged``, a model.

A caption without claims has precision 0 and recall 0. Which components are NaN for want of
something to compare with depends on the example alone, never on the caption, so that no caption
escapes from being judged.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from repic.rewards.asking import Answers, ask
from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout

NAN = float("nan")


@dataclass(frozen=True)
class ClaimCounts:
    """A caption's claims and the reference's units, counted.

    Attributes:
        right: claims that are verified (and pointable, where that is asked for).
        claims: all of them, repetitions included.
        covered: units of the reference that the caption states.
        units: all of them; 0 where there is nothing that the caption should have said.
    """

    right: int
    claims: int
    covered: int
    units: int

    def __post_init__(self) -> None:
        assert 0 <= self.right <= self.claims, self
        assert 0 <= self.covered <= self.units, self

    @property
    def precision(self) -> float:
        """Right claims / claims; 0 where nothing is claimed."""
        return self.right / max(self.claims, 1)

    @property
    def recall(self) -> float:
        """Covered units / units; NaN where there are none."""
        return self.covered / self.units if self.units else NAN


class ClaimSource(Protocol):
    """Finds the claims of captions and judges them, many captions at a time."""

    def applies(self, example: Example) -> bool:
        """Whether captions of this example can be judged."""
        ...

    def count(
        self, captions: Sequence[str], examples: Sequence[Example]
    ) -> Sequence[ClaimCounts | None]:
        """Judge captions, each with its example; None where no judgement could be had."""
        ...


class ClaimsReward:
    """Components ``precision`` and ``recall``, each in [0, 1]; see the module's docstring.

    Both are NaN where the source does not apply, and NaN and failed where it had no answer.

    Args:
        source: of the claims and of what became of them.
        tasks: the tasks whose answers are captions; elsewhere both components are NaN.
    """

    components = ("precision", "recall")

    def __init__(self, *, source: ClaimSource, tasks: Collection[str]) -> None:
        self.source, self.tasks = source, frozenset(tasks)

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        return ask(
            rollouts,
            self.components,
            tasks=self.tasks,
            applies=self.source.applies,
            question=self._shares,
        )

    def _shares(self, captions: Sequence[str], examples: Sequence[Example]) -> Answers:
        found = self.source.count(captions, examples)
        return [None if counts is None else (counts.precision, counts.recall) for counts in found]
