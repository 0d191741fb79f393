"""CIDEr-D with document frequencies from a fixed corpus.

CIDEr-D of Vedantam et al., https://arxiv.org/abs/1411.5726, as tylin/coco-caption computes it
(``pycocoevalcap/cider``; a parity test compares the numbers):
the "length" of the Gaussian penalty counts bigrams, and sigma is 6. Deviations:

1. Document frequencies come from a corpus that is fixed beforehand, not from the captions that
   are scored: over a single picture every inverse document frequency, and so the score, is 0.
2. Words are ``parsing.tokenize_caption``'s, not those of the Penn Treebank tokenizer.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from repic.parsing import tokenize_caption

MAX_ORDER = 4
SIGMA = 6.0
Ngram = tuple[str, ...]


def count_ngrams(text: str) -> Counter[Ngram]:
    """Count the n-grams of a caption's words, n from 1 to 4."""
    words = tokenize_caption(text)
    return Counter(
        tuple(words[i : i + n]) for n in range(1, MAX_ORDER + 1) for i in range(len(words) - n + 1)
    )


class _Vector(NamedTuple):
    """A caption as tf-idf weights, their norm for every n, and its number of bigrams."""

    weights: dict[Ngram, float]
    norms: list[float]
    length: int


class CiderD:
    """Consensus of a caption with reference captions, from 0 to 10.

    Args:
        document_frequencies: in how many pictures' references an n-gram occurs.
        num_documents: how many pictures the corpus has.
    """

    def __init__(self, document_frequencies: Mapping[Ngram, int], num_documents: int) -> None:
        if num_documents < 2:
            raise ValueError(
                f"CIDEr's corpus has references for {num_documents} pictures; with fewer than 2"
                " every word is equally telling and every score is 0"
            )
        self.document_frequencies = document_frequencies
        self.log_documents = math.log(num_documents)
        # The rollouts of a group come one after another and share their references.
        self._last: tuple[tuple[str, ...], list[_Vector]] = ((), [])

    @classmethod
    def from_corpus(cls, corpus: Iterable[Sequence[str]]) -> "CiderD":
        """Count document frequencies over the reference captions of each picture of a corpus."""
        frequencies: Counter[Ngram] = Counter()
        num_documents = 0
        for references in corpus:
            frequencies.update({ngram for text in references for ngram in count_ngrams(text)})
            num_documents += 1
        return cls(frequencies, num_documents)

    def score(self, caption: str, references: Sequence[str]) -> float:
        """Score one caption; 10 is the only reference itself, 0 shares nothing with any.

        Example:
            >>> cider = CiderD.from_corpus([["a red bear", "the red bear"], ["a blue cat"]])
            >>> round(cider.score("a red bear", ["a red bear", "the red bear"]), 2)
            5.4
        """
        texts = tuple(references)
        if not texts:
            raise ValueError("CIDEr needs at least one reference caption to compare with")
        if texts != self._last[0]:
            self._last = (texts, [self._vector(text) for text in texts])
        hypothesis = self._vector(caption)
        similarities = [_similarity(hypothesis, reference) for reference in self._last[1]]
        return 10.0 * sum(similarities) / len(similarities)

    def _vector(self, text: str) -> _Vector:
        weights, squares, length = {}, [0.0] * MAX_ORDER, 0
        for ngram, count in count_ngrams(text).items():
            # A corpus without the n-gram tells as much as one that has it once.
            idf = self.log_documents - math.log(max(1, self.document_frequencies.get(ngram, 0)))
            weights[ngram] = count * idf
            squares[len(ngram) - 1] += weights[ngram] ** 2
            length += count if len(ngram) == 2 else 0
        return _Vector(weights, [math.sqrt(square) for square in squares], length)


def _similarity(hypothesis: _Vector, reference: _Vector) -> float:
    """Clipped cosine, averaged over n, times the Gaussian of the difference in length."""
    products = [0.0] * MAX_ORDER
    for ngram, weight in hypothesis.weights.items():
        other = reference.weights.get(ngram, 0.0)
        products[len(ngram) - 1] += min(weight, other) * other
    cosines = [
        product / (a * b) if a and b else 0.0
        for product, a, b in zip(products, hypothesis.norms, reference.norms, strict=True)
    ]
    distance = hypothesis.length - reference.length
    return sum(cosines) / MAX_ORDER * math.exp(-(distance**2) / (2 * SIGMA**2))
