"""Is it well written? The mean of clarity, fluency and coherence, whoever judges them.

BalCapRL's linguistic quality, https://arxiv.org/abs/2605.07394. Its judge's scale is not known;
here each of the three is in [0, 1]. Who judges is a ``RewardSource``: ``language_rules``, or
``judged``, a model.
"""

from repic.judges.questions import LanguageScores
from repic.rewards.masked import MaskedReward

_PARTS = ("clarity", "fluency", "coherence")


class LanguageReward(MaskedReward[LanguageScores | None]):
    """Component ``language``, and its three parts, which are measured; each in [0, 1].

    The parts are called ``language_clarity`` and so on, as ``QualityReward`` has a ``fluency`` of
    its own.
    """

    components = ("language", *(f"language_{part}" for part in _PARTS))

    def numbers(self, judgement: LanguageScores | None) -> tuple[float | None, ...]:
        if judgement is None:
            return (None,) * len(self.components)
        return judgement.mean, *(getattr(judgement, part) for part in _PARTS)
