"""From a text to the n-grams that it holds, as arrays, in a few microseconds a word.

Captions that are scored share most of what they say with their references and siblings. So runs of
up to four words are kept as a graph: a node is the last four words, an edge one word more. Reading
a text is to follow edges, and what a node ends (one n-gram of every order) is looked up for all of
them at once. Nothing is counted in Python.
"""

import math
from collections.abc import Mapping
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from repic.parsing import tokenize_caption

MAX_ORDER = 4
CAPACITY = 2**17  # nodes that are kept, some 50 MB; beyond it the graph starts anew
Ngram = tuple[str, ...]


class Reading(NamedTuple):
    """The n-grams of a text: at [i, n - 1] the one of n words that ends with word i, or none.

    Sums over them run in the text's own order, so what was read before leaves no trace in them.

    Attributes:
        ids: numbers of the n-grams, valid until ``make_room`` starts anew; 0 is none.
        counts: how often each stands in the text.
        weights: that, times its inverse document frequency; 0 for none.
    """

    ids: Int[np.ndarray, "L 4"]
    counts: Float[np.ndarray, "L 4"]
    weights: Float[np.ndarray, "L 4"]


class _Node(dict):
    """The last words read, up to four, and by next word the node that follows."""

    __slots__ = ("graph", "row", "words")

    def __init__(self, graph: "NgramGraph", words: Ngram, row: int) -> None:
        super().__init__()
        self.graph, self.words, self.row = graph, words, row

    def __missing__(self, word: str) -> "_Node":
        self[word] = node = self.graph.node((*self.words, word)[-MAX_ORDER:])
        return node


_row = attrgetter("row")


class NgramGraph:
    """Reads texts into tf-idf weights.

    Args:
        document_frequencies: in how many documents an n-gram occurs.
        log_documents: logarithm of how many documents there are.
    """

    def __init__(self, document_frequencies: Mapping[Ngram, int], log_documents: float) -> None:
        self.document_frequencies, self.log_documents = document_frequencies, log_documents
        self._start(CAPACITY)

    def _start(self, capacity: int) -> None:
        self.capacity = capacity
        self.nodes: dict[Ngram, _Node] = {}
        self.ids: dict[Ngram, int] = {}  # from 1; 0 is no n-gram, as before a text's first words
        self.ends = np.zeros((capacity, MAX_ORDER), dtype=np.int64)  # node -> n-grams it ends
        self.idf = np.zeros(MAX_ORDER * capacity + 1)
        self.counts = np.ones(MAX_ORDER * capacity + 1)  # in the text that is being read
        self.root = _Node(self, (), -1)

    def make_room(self, num_words: int) -> bool:
        """Make sure that so many words can be read; whether the graph had to start anew for it."""
        if len(self.nodes) + num_words <= self.capacity:
            return False
        self._start(max(CAPACITY, num_words))
        return True

    def node(self, words: Ngram) -> _Node:
        """The node of some words; a new one takes the next row."""
        node = self.nodes.get(words)
        if node is None:
            node = self.nodes[words] = _Node(self, words, len(self.nodes))
            for order in range(len(words)):
                self.ends[node.row, order] = self._id(words[-order - 1 :])
        return node

    def _id(self, ngram: Ngram) -> int:
        number = self.ids.get(ngram)
        if number is None:
            number = self.ids[ngram] = len(self.ids) + 1
            # A corpus without the n-gram tells as much as one that has it once.
            frequency = max(1, self.document_frequencies.get(ngram, 0))
            self.idf[number] = self.log_documents - math.log(frequency)
        return number

    def read(self, text: str) -> Reading:
        """Count and weigh a text's n-grams; ``make_room`` has to come before."""
        node = self.root
        path = [node := node[word] for word in tokenize_caption(text)]
        rows = np.fromiter(map(_row, path), dtype=np.int64, count=len(path))
        ids = self.ends[rows]
        ordered = np.sort(ids, axis=None)
        # Equal ones now stand together. The first words end no longer n-gram: 0 always leads.
        starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        self.counts[ordered[starts]] = np.diff(np.append(starts, len(ordered)))
        counts = self.counts[ids]
        return Reading(ids, counts, counts * self.idf[ids])
