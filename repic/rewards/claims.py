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

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from repic.rewards.masked import Answers, score_where_it_applies
from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout

NAN = float("nan")


class Share(NamedTuple):
    """So many of so many."""

    part: int
    whole: int


class Findings(NamedTuple):
    """What became of a caption's claims and of the reference's units.

    Attributes:
        claims: how many are right (verified, and pointable where that is asked for), and how many
            there are, repetitions included.
        units: how many the caption covers, and how many there are.

    None where no judgement could be had.
    """

    claims: Share | None
    units: Share | None


@runtime_checkable
class ClaimSource(Protocol):
    """Finds the claims of captions and judges them, many captions at a time."""

    def applies(self, example: Example) -> bool:
        """Whether captions of this example can be judged."""
        ...

    def find(self, captions: Sequence[str], examples: Sequence[Example]) -> Sequence[Findings]:
        """Judge captions, each with its example."""
        ...

    def take_counts(self) -> Mapping[str, float]:
        """What that has taken since the last call; nothing, if no one is asked."""
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
        return score_where_it_applies(
            rollouts,
            self.components,
            tasks=self.tasks,
            applies=self.source.applies,
            question=self._shares,
        )

    def take_counts(self) -> Mapping[str, float]:
        return self.source.take_counts()

    def _shares(self, captions: Sequence[str], examples: Sequence[Example]) -> Answers:
        return [
            (_share(found.claims, empty=0.0), _share(found.units, empty=NAN))
            for found in self.source.find(captions, examples)
        ]


def _share(share: Share | None, *, empty: float) -> float | None:
    """A share as a number; ``empty`` where there is nothing to have a share of."""
    if share is None:
        return None
    assert 0 <= share.part <= share.whole, share
    return share.part / share.whole if share.whole else empty
