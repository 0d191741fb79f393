"""How varied captions are: Self-BLEU, Distinct-1, Distinct-2, and how long.

All are about the whole collection that is scored together, and so is their interval: each caption
is judged in the light of all others, which a bootstrap does not draw anew (as CIDEr's document
frequencies). Larger collections repeat themselves more: compare collections of one size.
"""

from bisect import bisect_left
from collections import Counter

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.bleu import ORDERS, WIDTH, bleu_scores, grams, totals
from repic.metrics.captions.metric import Captions, Metric
from repic.metrics.column import THEMSELVES, ScoreColumn

SCALE = 100.0
OF_ALL = (
    "Self-BLEU and D depend on how many captions there are, and their intervals take the other"
    " captions as given: they say nothing of other scenes."
)


class SelfBleu(Metric):
    """BLEU-4 × 100 of each caption against all others, the mean over captions; low is varied.

    Zhu et al. 2018, https://arxiv.org/abs/1802.01886, section 3; BLEU as in ``bleu.py``. Of each
    n-gram the two largest counts are kept, so that time grows with the words, not their square.
    """

    def __init__(self) -> None:
        notes = ("Self-BLEU: BLEU-4 of a caption against all others (low: varied).", OF_ALL)
        column = ScoreColumn("self_bleu", "Self-BLEU", "none", THEMSELVES, notes)
        super().__init__(column, is_of_the_whole=True)

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        tokens = [text.split() for text in captions.words]
        if len(tokens) < 2:
            return self.rows(np.full(len(tokens), np.nan))
        lengths = _Lengths([len(text) for text in tokens])
        rows = np.zeros((len(tokens), WIDTH))
        for row, text in zip(rows, tokens, strict=True):
            row[: 2 + ORDERS] = [1, lengths.closest_other(len(text)), *totals(len(text))]
        for order in range(1, ORDERS + 1):
            rows[:, 1 + ORDERS + order] = _matches_elsewhere(
                [Counter(grams(text, order)) for text in tokens]
            )
        return self.rows(bleu_scores(rows)[:, -1])


def _matches_elsewhere(texts: list[Counter[tuple[str, ...]]]) -> list[int]:
    """Of each text, the n-grams that another has: each as often as one other has it, at most."""
    most: dict[tuple[str, ...], tuple[int, int, int]] = {}  # largest count, whose, second largest
    for i, counts in enumerate(texts):
        for gram, count in counts.items():
            first, owner, second = most.get(gram, (0, -1, 0))
            if count > first:
                most[gram] = (count, i, first)
            elif count > second:
                most[gram] = (first, owner, count)
    found = [0] * len(texts)
    for i, counts in enumerate(texts):
        for gram, count in counts.items():
            first, owner, second = most[gram]
            found[i] += min(count, second if owner == i else first)
    return found


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


class Distinct(Metric):
    """Different n-grams by all n-grams of the collection, in %; high is varied.

    Li et al. 2016, https://arxiv.org/abs/1510.03055, section 5. An n-gram that occurs m times
    counts 1/m at each of its places, so that the captions' shares add up to the number of
    different ones.
    """

    def __init__(self) -> None:
        notes = ("D: different n-grams by all n-grams, in %.", OF_ALL)
        columns = (
            ScoreColumn(f"distinct_{n}", f"D-{n}", "none", THEMSELVES, notes) for n in (1, 2)
        )
        super().__init__(*columns, is_of_the_whole=True)

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        rows = np.zeros((len(captions.words), 4))
        for order in (1, 2):
            texts = [list(grams(text.split(), order)) for text in captions.words]
            occurs = Counter(gram for text in texts for gram in text)
            column = 2 * (order - 1)
            rows[:, column] = [sum(SCALE / occurs[gram] for gram in text) for text in texts]
            rows[:, column + 1] = [len(text) for text in texts]
        return rows


class Length(Metric):
    """Words of a caption as a person counts them: what spaces part."""

    def __init__(self) -> None:
        super().__init__(ScoreColumn("words", "words", "none", THEMSELVES))

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        return self.rows(np.array([len(text.split()) for text in captions.texts], dtype=np.float64))
