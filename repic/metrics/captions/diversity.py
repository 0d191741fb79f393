"""How varied captions are: Self-BLEU, Distinct-1, Distinct-2, and how long.

All are about the whole collection that is scored together, and so is their interval: each caption
is judged in the light of all others, which a bootstrap does not draw anew (as CIDEr's document
frequencies). Larger collections repeat themselves more: compare collections of one size.
"""

from bisect import bisect_left
from collections import Counter

import numpy as np
from jaxtyping import Float
from pycocoevalcap.bleu import bleu_scorer

from repic.metrics.captions.bleu import ORDERS, bleu
from repic.metrics.captions.metric import Captions, MeanMetric, ratio

SCALE = 100.0


class SelfBleu(MeanMetric):
    """BLEU-4 × 100 of each caption against all others, the mean over captions; low is varied.

    Zhu et al. 2018, https://arxiv.org/abs/1802.01886, section 3; BLEU as in ``bleu.py``. Of each
    n-gram the two largest counts are kept, so that time grows with the words, not their square.
    """

    def __init__(self) -> None:
        super().__init__("self_bleu")

    def missing(self) -> None:
        """Nothing: it is Python alone."""

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        cooked = [bleu_scorer.precook(text, n=ORDERS) for text in captions.words]
        if len(cooked) < 2:
            return self.rows(np.full(len(cooked), np.nan))
        most: dict[tuple[str, ...], tuple[int, int, int]] = {}  # largest, whose, second largest
        for i, (_, counts) in enumerate(cooked):
            for gram, count in counts.items():
                first, owner, second = most.get(gram, (0, -1, 0))
                if count > first:
                    most[gram] = (count, i, first)
                elif count > second:
                    most[gram] = (first, owner, count)
        lengths = _Lengths([length for length, _ in cooked])
        rows = np.zeros((len(cooked), 2 + 2 * ORDERS))
        for i, (row, (length, counts)) in enumerate(zip(rows, cooked, strict=True)):
            row[:2] = 1, lengths.closest_other(length)
            row[2 : 2 + ORDERS] = [max(0, length - order) for order in range(ORDERS)]
            for gram, count in counts.items():
                first, owner, second = most[gram]
                row[1 + ORDERS + len(gram)] += min(count, second if owner == i else first)
        return self.rows(SCALE * bleu(rows)[:, -1])


class _Lengths:
    """Lengths of all captions."""

    def __init__(self, lengths: list[int]) -> None:
        self._number = Counter(lengths)
        self._sorted = sorted(self._number)

    def closest_other(self, length: int) -> int:
        """The length closest to one caption's among the others; the shorter of two as close."""
        if self._number[length] > 1:
            return length
        place = bisect_left(self._sorted, length)
        near = self._sorted[max(place - 1, 0) : place] + self._sorted[place + 1 : place + 2]
        return min(near, key=lambda other: (abs(other - length), other))


class Distinct:
    """Different n-grams by all n-grams of the collection, in %; high is varied.

    Li et al. 2016, https://arxiv.org/abs/1510.03055, section 5. An n-gram that occurs m times
    counts 1/m at each of its places, so that the captions' shares add up to the number of
    different ones.
    """

    names = ("distinct_1", "distinct_2")

    def missing(self) -> None:
        """Nothing: it is Python alone."""

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        rows = np.zeros((len(captions.words), 4))
        for order in (1, 2):
            grams = [_grams(text.split(), order) for text in captions.words]
            occurs = Counter(gram for group in grams for gram in group)
            column = 2 * (order - 1)
            rows[:, column] = [sum(1 / occurs[gram] for gram in group) for group in grams]
            rows[:, column + 1] = [len(group) for group in grams]
        return rows

    def values(self, sums: Float[np.ndarray, "S K"]) -> dict[str, Float[np.ndarray, " S"]]:
        return {
            name: SCALE * ratio(sums[:, 2 * i], sums[:, 2 * i + 1])
            for i, name in enumerate(self.names)
        }


class Length(MeanMetric):
    """Words of a caption as a person counts them: what spaces part."""

    def __init__(self) -> None:
        super().__init__("words")

    def missing(self) -> None:
        """Nothing: it is Python alone."""

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        return self.rows(np.array([len(text.split()) for text in captions.texts], dtype=np.float64))


def _grams(tokens: list[str], order: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[start:] for start in range(order)), strict=False))
