"""BLEU-1 to BLEU-4, to the digit those of pycocoevalcap 1.2.

Papineni et al. 2002, https://aclanthology.org/P02-1040; the reference whose length is closest (the
shorter of two) gives the brevity penalty. pycocoevalcap adds 1e-15 to matches and 1e-9 to totals
instead of smoothing, so that a caption without a common word has almost 0.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pycocoevalcap.bleu import bleu_scorer

from repic.metrics.captions.metric import Captions

ORDERS = 4
SCALE = 100.0
_TINY, _SMALL = 1e-15, 1e-9  # the judge's

# Statistics: captions, length of the closest reference, n-grams by order, matches by order.
WIDTH = 2 + 2 * ORDERS


class Bleu:
    """BLEU × 100. A corpus has the ratio of its summed counts, not the mean of its captions."""

    names = tuple(f"bleu_{order}" for order in range(1, ORDERS + 1))

    def missing(self) -> None:
        """Nothing: it is Python alone."""

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        rows = np.zeros((len(captions.words), WIDTH))
        pairs = zip(captions.words, captions.reference_words, strict=True)
        cooked: dict[tuple[str, ...], tuple] = {}  # captions of one image share references
        for row, (caption, references) in zip(rows, pairs, strict=True):
            if references:
                key = tuple(references)
                if key not in cooked:
                    cooked[key] = bleu_scorer.cook_refs(key, n=ORDERS)
                row[:] = _row(caption, cooked[key])
        return rows

    def values(self, sums: Float[np.ndarray, "S K"]) -> dict[str, Float[np.ndarray, " S"]]:
        return dict(zip(self.names, SCALE * bleu(sums).T, strict=True))


def _row(caption: str, references: tuple) -> Sequence[float]:
    found = bleu_scorer.cook_test(caption, references, eff="closest", n=ORDERS)
    return [1, found["reflen"], *found["guess"], *found["correct"]]


def bleu(sums: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "S 4"]:
    """BLEU of orders 1 to 4, from 0 to 1, of rows of summed statistics; NaN without captions."""
    number, closest = sums[:, 0], sums[:, 1]
    totals, matches = sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
    precisions = np.cumprod((matches + _TINY) / (totals + _SMALL), axis=1)
    means = precisions ** (1 / np.arange(1, ORDERS + 1))
    length = (totals[:, 0] + _TINY) / (closest + _SMALL)
    penalty = np.where(length < 1, np.exp(np.minimum(1 - 1 / length, 0)), 1.0)
    return np.where(number[:, None] > 0, means * penalty[:, None], np.nan)
