"""BLEU-1 to BLEU-4, to the digit those of pycocoevalcap 1.2.

Papineni et al. 2002, https://aclanthology.org/P02-1040; the reference whose length is closest (the
shorter of two) gives the brevity penalty. pycocoevalcap adds 1e-15 to matches and 1e-9 to totals
instead of smoothing, so that a caption without a common word has almost 0. Its scorer keeps no
counts by caption that a bootstrap could sum, and counts every n-gram of every reference; here only
those count that the caption has.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import Captions, Metric
from repic.metrics.column import NGRAMS, ScoreColumn

ORDERS = 4
SCALE = 100.0
_TINY, _SMALL = 1e-15, 1e-9  # the judge's

# Statistics: captions, length of the closest reference, n-grams by order, matches by order.
WIDTH = 2 + 2 * ORDERS


def bleu_scores(sums: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "S 4"]:
    """BLEU × 100 of orders 1 to 4, of rows of summed statistics; NaN without captions."""
    number, closest = sums[:, 0], sums[:, 1]
    whole, matched = sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
    products = np.cumprod((matched + _TINY) / (whole + _SMALL), axis=1)
    means = products ** (1 / np.arange(1, ORDERS + 1))
    length = (whole[:, 0] + _TINY) / (closest + _SMALL)
    penalty = np.exp(np.minimum(1 - 1 / length, 0))
    return np.where(number[:, None] > 0, SCALE * (means * penalty[:, None]), np.nan)


class Bleu(Metric):
    """BLEU × 100, which is not the mean of captions' scores."""

    def __init__(self) -> None:
        notes = ("B: BLEU of the whole set.",)
        super().__init__(
            *(
                ScoreColumn(f"bleu_{order}", f"B-{order}", "up", NGRAMS, notes)
                for order in range(1, ORDERS + 1)
            ),
            values=bleu_scores,
        )

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        rows = np.zeros((len(captions.words), WIDTH))
        pairs = zip(captions.words, captions.reference_words, strict=True)
        for row, (text, group) in zip(rows, pairs, strict=True):
            if group:
                tokens, references = text.split(), [reference.split() for reference in group]
                closest = min(map(len, references), key=lambda n: (abs(n - len(tokens)), n))
                row[:] = [1, closest, *totals(len(tokens)), *matches(tokens, references)]
        return rows


def grams(tokens: Sequence[str], order: int) -> Iterator[tuple[str, ...]]:
    """All n-grams of one order, repeats included.

    Example:
        >>> list(grams(["a", "red", "bear"], 2))
        [('a', 'red'), ('red', 'bear')]
    """
    return zip(*(tokens[start:] for start in range(order)), strict=False)


def totals(length: int) -> list[int]:
    """Number of n-grams by order."""
    return [max(length - order, 0) for order in range(ORDERS)]


def matches(caption: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """Clipped matches by order: an n-gram counts as often as one reference has it, at most.

    Example:
        >>> matches("the the cat sits".split(), ["the cat".split(), "a cat sits".split()])
        [3, 2, 0, 0]
    """
    found = [0] * ORDERS
    for order in range(1, ORDERS + 1):
        counts = Counter(grams(caption, order))
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= Counter(filter(counts.__contains__, grams(reference, order)))
        found[order - 1] = (counts & allowed).total()
        if not allowed:
            break  # longer ones cannot match either
    return found
