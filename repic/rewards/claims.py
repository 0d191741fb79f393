"""Is what a caption claims true, and does it claim what it should? BalCapRL's precision and recall.

BalCapRL, https://arxiv.org/abs/2605.07394, decomposes a caption into atomic claims a_1 … a_N and
the reference into units u_1 … u_M:

    precision = #{a_i : verified and pointable} / N        recall = #{u_j covered} / M

A claim is pointable if what it speaks of can be pointed at in the picture: "a red car" can, "this
adds depth to the scene" cannot, and so such remarks lower the precision. Who finds the claims and
judges them is a ``RewardSource``: ``grammar_claims``, exact, or ``judged``, a model.

A caption without claims has precision 0 and recall 0. Which components are NaN for want of
something to compare with depends on the example alone, never on the caption, so that no caption
escapes from being judged.
"""

from typing import NamedTuple

from repic.rewards.masked import MaskedReward

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


class ClaimsReward(MaskedReward[Findings]):
    """Components ``precision`` and ``recall``, each in [0, 1]; see the module's docstring."""

    components = ("precision", "recall")

    def numbers(self, judgement: Findings) -> tuple[float | None, float | None]:
        return _share(judgement.claims, empty=0.0), _share(judgement.units, empty=NAN)


def _share(share: Share | None, *, empty: float) -> float | None:
    """A share as a number; ``empty`` where there is nothing to have a share of."""
    if share is None:
        return None
    assert 0 <= share.part <= share.whole, share
    return share.part / share.whole if share.whole else empty
