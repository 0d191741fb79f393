"""How strongly, and to what, the policy is pulled back while it trains."""

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Lt

from repic.values import Positive, Whole

MAX_ERROR = 0.2


@dataclass(frozen=True, kw_only=True)
class KlControl:
    """What is done with the KL beside adding it to the loss.

    Attributes:
        in_reward: take coefficient × KL of a rollout off its reward, and nothing off the loss.
        target: nats per token that the coefficient is steered to; None keeps it fixed.
        gain: of the steering; see ``adapted_coef``.
        refresh_every: iterations after which the reference becomes the present policy; 0 never.
    """

    in_reward: bool
    target: Positive | None
    gain: Annotated[float, Gt(0), Lt(1 / MAX_ERROR)]
    refresh_every: Whole

    def check(self, coef: float) -> None:
        """Refuse what would have no effect, or not the one that its name promises."""
        if coef == 0 and (self.in_reward or self.target is not None or self.refresh_every):
            raise ValueError(
                "kl.coef: 0 has no KL, so in_reward, target and refresh_every would do nothing;"
                " an adaptive coefficient cannot leave 0 either"
            )

    def next_coef(self, coef: float, kl: float) -> float:
        """Return the next iteration's coefficient, given this one's KL per token."""
        if self.target is None or math.isnan(kl):  # a coefficient would stay NaN for ever
            return coef
        return adapted_coef(coef, kl, target=self.target, gain=self.gain)


def adapted_coef(coef: float, kl: float, *, target: float, gain: float) -> float:
    """Raise the coefficient where the KL is above its target, lower it where it is below.

    https://arxiv.org/abs/1909.08593, section 2.2, with their gain of 0.1: at most 2 % at a time.

    Args:
        coef: the one that led to ``kl``.
        kl: of the policy from the reference, in nats per token.
        target: the KL that is wanted.
        gain: relative change of the coefficient per relative error, which is clipped to ±0.2.

    Example:
        >>> adapted_coef(0.1, 0.055, target=0.05, gain=0.1)  # 10 % too far
        0.101
        >>> round(adapted_coef(0.1, 9.0, target=0.05, gain=0.1), 6)
        0.102
    """
    error = min(max(kl / target - 1, -MAX_ERROR), MAX_ERROR)
    return coef * (1 + gain * error)
