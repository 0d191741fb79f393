"""CIDEr-D as a metric, and CIDEr-R: CIDEr-D with penalties that long references survive.

dos Santos et al. 2021, https://arxiv.org/abs/2109.13701: the Gaussian of the difference in length
gives way to repetition^0.8 × length^0.2. The first is the geometric mean, over a caption's words,
of 1 / (1 + how often it says them too often or too rarely), once being right for a word that the
reference lacks; the second is exp(-(difference / reference length)²).

Lengths are in words (the authors' code of 2021 counts pairs of words, and divides by none for a
reference of one word). Here a caption without a word has 0; there it has no value.
"""

import math
import re
from collections import Counter

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import Captions, Metric, ratio
from repic.metrics.cider import SCALE, cider_scores
from repic.metrics.column import NGRAMS, ScoreColumn

REPETITION, LENGTH = 0.8, 0.2
_TEN = 10.0

_WORD = re.compile(r"\w+")


CIDER_NOTE = ("CIDEr and CIDEr-R: means over captions, from 0 to 1000.",)


class Cider(Metric):
    """CIDEr-D × 100, the mean over captions; see ``repic.metrics.cider``."""

    def __init__(self) -> None:
        super().__init__(ScoreColumn("cider", "CIDEr", "up", NGRAMS, CIDER_NOTE))

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        scores = cider_scores(captions.words, captions.reference_words, captions.cosines)
        return self.rows(scores)


class CiderR(Metric):
    """CIDEr-R × 100, the mean over captions; from 0 to 1000."""

    def __init__(self) -> None:
        super().__init__(ScoreColumn("cider_r", "CIDEr-R", "up", NGRAMS, CIDER_NOTE))

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        number, groups = len(captions.words), captions.reference_words
        num_references = np.array([len(group) for group in groups], dtype=np.float64)
        if np.count_nonzero(num_references) < 2:  # as with CIDEr: one document has no rare words
            return self.rows(np.full(number, np.nan))
        words = [Counter(_WORD.findall(text)) for text in captions.words]
        lengths = [len(text.split()) for text in captions.words]
        factors = [
            penalty(words[i], lengths[i], reference)
            for i, group in enumerate(groups)
            for reference in group
        ]
        owner = np.repeat(np.arange(number), num_references.astype(np.int64))
        total = np.bincount(owner, captions.cosines * factors, minlength=number)
        return self.rows(SCALE * _TEN * ratio(total, num_references))


def penalty(words: Counter[str], length: int, reference: str) -> float:
    """What a cosine is multiplied with, from 0 to 1.

    Args:
        words: the caption's, counted.
        length: the caption's number of tokens.
        reference: tokens with one space between them.

    Example:
        >>> round(penalty(Counter("a big big dog".split()), 4, "a big dog"), 4)  # (1/2)^(0.8/3)
        0.813
    """
    if not words:
        return 0.0
    theirs = Counter(_WORD.findall(reference))
    wrong = (abs(count - theirs.get(word, 1)) for word, count in words.items())
    repetition = math.exp(-sum(math.log1p(extra) for extra in wrong) / len(words))
    expected = max(len(reference.split()), 1)
    apart = math.exp(-(((length - expected) / expected) ** 2))
    return repetition**REPETITION * apart**LENGTH
