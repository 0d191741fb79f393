"""The sign test: is one of two systems preferred more often than chance would have it?"""

from fractions import Fraction
from math import comb


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of wins and losses that are equally likely, exactly.

    Dixon and Mood 1946, https://doi.org/10.1080/01621459.1946.10501898. Ties are left out before.

    Example:
        >>> sign_test(5, 0)  # 2 / 2⁵
        0.0625
    """
    number, fewer = wins + losses, min(wins, losses)
    tail = sum(comb(number, k) for k in range(fewer + 1))
    return float(min(Fraction(2 * tail, 2**number), Fraction(1)))
