"""Is it well written? The mean of clarity, fluency and coherence, whoever judges them.

BalCapRL's linguistic quality, https://arxiv.org/abs/2605.07394. Its judge's scale is not known;
here each of the three is in [0, 1]. Who judges is a ``LanguageSource``: ``language_rules``, or
``judged``, a model.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from repic.judges.questions import LanguageScores
from repic.rewards.masked import Answers, MaskedReward, RewardSource
from repic.types import Example

_PARTS = ("clarity", "fluency", "coherence")


@runtime_checkable
class LanguageSource(RewardSource, Protocol):
    """Judges how captions are written, many at a time."""

    def scores(
        self, captions: Sequence[str], examples: Sequence[Example]
    ) -> Sequence[LanguageScores | None]:
        """Judge captions, each with its example; None where no judgement could be had."""
        ...


class LanguageReward(MaskedReward[LanguageSource]):
    """Component ``language``, and its three parts, which are measured; each in [0, 1].

    The parts are called ``language_clarity`` and so on, as ``QualityReward`` has a ``fluency`` of
    its own.
    """

    components = ("language", *(f"language_{part}" for part in _PARTS))

    def ask(self, captions: Sequence[str], examples: Sequence[Example]) -> Answers:
        nothing = (None,) * len(self.components)
        return [
            nothing if parts is None else (parts.mean, *(getattr(parts, part) for part in _PARTS))
            for parts in self.source.scores(captions, examples)
        ]
