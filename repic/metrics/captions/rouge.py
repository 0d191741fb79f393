"""ROUGE-L, to the digit that of pycocoevalcap 1.2.

Lin 2004, https://aclanthology.org/W04-1013, section 3: an F-measure (beta 1.2) of the longest
common subsequence. As in the judge, precision and recall may come from different references, and
an empty text counts as one empty word.

The judge fills a table of words by words. Here a row of that table is the bits of one number:
Hyyrö, Bit-parallel LCS-length computation revisited (2004).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import Captions, Metric
from repic.metrics.column import NGRAMS, ScoreColumn

BETA = 1.2
SCALE = 100.0


class RougeL(Metric):
    """ROUGE-L × 100, the mean over captions."""

    def __init__(self) -> None:
        super().__init__(ScoreColumn("rouge_l", "R-L", "up", NGRAMS, ("R-L: ROUGE-L.",)))

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        pairs = zip(captions.words, captions.reference_words, strict=True)
        scores = [rouge_l(text, group) if group else np.nan for text, group in pairs]
        return self.rows(SCALE * np.array(scores, dtype=np.float64))


def rouge_l(caption: str, references: Sequence[str]) -> float:
    """Score one caption, from 0 to 1.

    Args:
        caption: tokens with one space between them.
        references: one or more, likewise.

    Example:
        >>> rouge_l("a red bear sits", ["a bear sits"])  # P = 3/4, R = 1
        0.8798076923076923
    """
    mine = caption.split(" ")
    others = [reference.split(" ") for reference in references]
    common = [longest_common(other, mine) for other in others]
    precision = max(common) / len(mine)
    recall = max(c / len(other) for c, other in zip(common, others, strict=True))
    if not common or precision == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Example:
        >>> longest_common("a b c d".split(), "b x d a".split())
        2
    """
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(left)) - 1
    row = everything  # a 0 for every step of the table's row
    for word in right:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & everything
    return len(left) - row.bit_count()
