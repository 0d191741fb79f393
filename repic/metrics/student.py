"""Student's t without SciPy: quantiles and tail probabilities for whole degrees of freedom.

For whole degrees of freedom the probability has a closed form in the angle
atan(t / sqrt(degrees)): Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and
26.7.4.
"""

import math


def student_t(confidence: float, degrees: int) -> float:
    """Two-sided quantile of Student's t: P(-t < T < t) = confidence.

    The probability grows with the angle, so that bisection finds the quantile.

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


def student_p(t: float, degrees: int) -> float:
    """Two-sided tail probability P(|T| >= |t|).

    Example:
        >>> round(student_p(4.303, 2), 3)
        0.05
    """
    if degrees < 1:
        raise ValueError(f"no probability for {degrees} degrees of freedom")
    return max(0.0, 1 - _inside(math.atan(abs(t) / math.sqrt(degrees)), degrees))


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
