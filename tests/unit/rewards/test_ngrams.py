import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards import ngrams
from repic.rewards.cider import CiderD, count_ngrams
from repic.rewards.ngrams import NgramGraph

CORPUS = [["a red bear sits", "the red bear sits here"], ["a blue cat sits"], ["a cat and a bear"]]
captions = st.lists(st.sampled_from("a red bear cat <bo>".split()), max_size=12).map(" ".join)


def test_by_hand() -> None:
    frequencies = {("a",): 4, ("b",): 2, ("a", "b"): 1}
    graph = NgramGraph(frequencies, math.log(4))
    found = graph.read("a b a b")
    a, b, ab, ba, aba, bab, abab = range(1, 8)  # as they come up, the shortest first
    assert found.ids.tolist() == [[a, 0, 0, 0], [b, ab, 0, 0], [a, ba, aba, 0], [b, ab, bab, abab]]
    # "a" tells nothing; "b" is in half of the documents; all others are as good as in one.
    two, one = math.log(2), math.log(4)
    expected = [
        [0, 0, 0, 0],
        [2 * two, 2 * one, 0, 0],
        [0, one, one, 0],
        [2 * two, 2 * one, one, one],
    ]
    np.testing.assert_allclose(found.weights, expected)
    assert found.counts.tolist() == [[2, 1, 1, 1], [2, 2, 1, 1], [2, 1, 1, 1], [2, 2, 1, 1]]


@given(st.lists(captions, min_size=1, max_size=5))
def test_ngrams_are_those_that_plain_counting_finds(texts: list[str]) -> None:
    graph = NgramGraph({}, 1.0)
    for text in texts:
        found = graph.read(text)
        names = {number: ngram for ngram, number in graph.ids.items()}
        pairs = zip(found.ids.ravel().tolist(), found.counts.ravel().tolist(), strict=True)
        assert {names[i]: count for i, count in pairs if i} == count_ngrams(text)
        assert ((found.ids == 0) == (found.weights == 0)).all()


@given(st.lists(st.tuples(captions, captions), max_size=8))
def test_a_graph_that_starts_anew_changes_nothing(pairs: list[tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "CAPACITY", 60)
        small = CiderD.from_corpus(CORPUS)
        for caption, reference in pairs:
            whole = CiderD.from_corpus(CORPUS).score(caption, [reference])
            assert small.score(caption, [reference]) == whole
            assert len(small._graph.nodes) <= small._graph.capacity


def test_a_graph_starts_anew_where_it_would_be_full() -> None:
    graph = NgramGraph({}, 1.0)
    graph._start(3)
    assert not graph.make_room(3)
    graph.read("a b c")
    assert graph.make_room(1)
    assert graph.nodes == {}
