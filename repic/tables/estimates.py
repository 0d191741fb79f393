"""A number with an interval: over seeds when there are several, over examples when there is one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repic.metrics.statistics import mean_interval

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval.

    Attributes:
        low, high: ends of the interval; NaN if there is none.
        num_seeds: how many different runs the interval is about. 1: the interval (if any) is
            about other scenes, not about other runs.
        p_value: of a difference, that it is 0; None: this is no difference. NaN: not known.
    """

    mean: float
    low: float
    high: float
    num_seeds: int
    p_value: float | None = None

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
    return Estimate(float(np.mean(values)), *mean_interval(values, CONFIDENCE), len(values))
