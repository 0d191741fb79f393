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

import numpy as np
from jaxtyping import Float, Int

from repic.parsing import tokenize_caption
from repic.rewards.ngrams import MAX_ORDER, Ngram, NgramGraph, Reading

SIGMA = 6.0
_TINY = 1e-300  # in place of a norm of 0; the product above it is 0 as well


def count_ngrams(text: str) -> Counter[Ngram]:
    """Count the n-grams of a caption's words, n from 1 to 4."""
    words = tokenize_caption(text)
    return Counter(
        tuple(words[i : i + n]) for n in range(1, MAX_ORDER + 1) for i in range(len(words) - n + 1)
    )


class _References(NamedTuple):
    """What captions of one picture are compared with.

    Attributes:
        texts: the R reference captions.
        ids: of their n-grams.
        weights: the columns are those n-grams, behind a column of zeros for all others.
        norms: of each reference's n-grams, by n.
        lengths: numbers of bigrams.
    """

    texts: tuple[str, ...]
    ids: Int[np.ndarray, " C-1"]
    weights: Float[np.ndarray, "R C"]
    norms: Float[np.ndarray, "R 4"]
    lengths: Float[np.ndarray, " R"]


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
        self._graph = NgramGraph(document_frequencies, self.log_documents)
        # The rollouts of a group come one after another and share their references.
        self._last: _References | None = None
        self._columns = np.zeros(0, dtype=np.int64)  # of an n-gram in the last references' weights

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
        num_words = len(caption) + sum(map(len, texts))  # at most; counting letters is quick
        if self._graph.make_room(num_words):
            self._last = None  # ids have changed
        if self._last is None or texts != self._last.texts:
            self._last = self._read(texts)
        said = self._graph.read(caption)
        return _compare(said, self._columns[said.ids], self._last)

    def _read(self, texts: tuple[str, ...]) -> _References:
        if self._last is None:
            self._columns = np.zeros(len(self._graph.idf), dtype=np.int64)
        else:
            self._columns[self._last.ids] = 0
        found = [self._graph.read(text) for text in texts]
        ids = np.unique(np.concatenate([one.ids for one in found]))
        self._columns[ids] = np.arange(1, len(ids) + 1)
        self._columns[0] = 0
        weights = np.zeros((len(texts), len(ids) + 1))
        for row, one in zip(weights, found, strict=True):
            row[self._columns[one.ids]] = one.weights
        norms = np.array([_norms(one) for one in found])
        lengths = np.array([_num_bigrams(one) for one in found], dtype=float)
        return _References(texts, ids, weights, norms, lengths)


def _compare(caption: Reading, columns: Int[np.ndarray, "L 4"], references: _References) -> float:
    """Clipped cosine, averaged over n and references, times the Gaussian of lengths, times 10.

    Args:
        columns: of the caption's n-grams in the references' weights.
    """
    others = references.weights[:, columns]  # [R, L, 4]
    # An n-gram that stands there several times is met as often: hence by its count.
    shared = np.minimum(caption.weights, others) * others / caption.counts
    cosines = shared.sum(axis=1) / np.maximum(_norms(caption) * references.norms, _TINY)
    distances = _num_bigrams(caption) - references.lengths
    penalties = np.exp(-(distances**2) / (2 * SIGMA**2))
    return 10.0 * float((cosines.mean(axis=1) * penalties).mean())


def _norms(text: Reading) -> Float[np.ndarray, " 4"]:
    return np.sqrt((text.weights**2 / text.counts).sum(axis=0))


def _num_bigrams(text: Reading) -> int:
    return max(len(text.ids) - 1, 0)
