"""A number with an interval: over seeds when there are several, over examples when there is one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval.

    Attributes:
        low, high: ends of the interval; NaN if there is none.
        num_seeds: how many different runs the interval is about. 1: the interval (if any) is
            about other scenes, not about other runs.
    """

    mean: float
    low: float
    high: float
    num_seeds: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low) and not math.isnan(self.high)


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of runs with different seeds; Student's t with their sample deviation.

    Example:
        >>> estimate = over_seeds([64.0, 66.0, 68.0])
        >>> f"{estimate.mean:.1f} ± {estimate.half_width:.2f}"  # 4.303 · 2 / sqrt(3)
        '66.0 ± 4.97'
    """
    values = sorted(values)  # so that the order of runs cannot reach the last digit
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, math.nan, math.nan, len(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = student_t(CONFIDENCE, len(values) - 1) * error
    return Estimate(mean, mean - half, mean + half, len(values))


def student_t(confidence: float, degrees: int) -> float:
    """Two-sided quantile of Student's t: P(-t < T < t) = confidence.

    For whole degrees of freedom the probability has a closed form in the angle
    atan(t / sqrt(degrees)): Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3
    and 26.7.4. It grows with the angle, so that bisection finds the quantile.

    Example:
        >>> round(student_t(0.95, 2), 3)
        4.303
    """
    if degrees < 1 or not 0 < confidence < 1:
        raise ValueError(f"no quantile for confidence {confidence} and {degrees} degrees")
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _inside(angle: float, degrees: int) -> float:
    """P(|T| < sqrt(degrees) · tan(angle))."""
    cos, sin = math.cos(angle), math.sin(angle)
    is_odd = degrees % 2
    term = cos if is_odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + is_odd, degrees, 2):
        term *= cos**2 * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sin * total) if is_odd else sin * total
