import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.cider import CiderD, count_ngrams

CORPUS = [["a red bear sits", "the red bear sits here"], ["a blue cat sits"], ["a cat and a bear"]]
words = st.lists(st.sampled_from("a red blue bear cat sits <bo>".split()), max_size=12)
captions = words.map(" ".join)


def test_by_hand() -> None:
    # "red": idf log 2 in a corpus of two, "bear": in both, idf 0. Bigram "red bear": idf log 2.
    cider = CiderD.from_corpus([["red bear"], ["blue bear"]])
    # n = 1: "red" alone counts, cosine 1 with "red bear"; n = 2: 1; n = 3, 4: none.
    assert cider.score("red bear", ["red bear"]) == pytest.approx(10 * (1 + 1) / 4)
    # Against "red bear" and "blue bear": the second shares only "bear", which tells nothing.
    assert cider.score("red bear", ["red bear", "blue bear"]) == pytest.approx(2.5)
    # "red red bear": clipped 1 * 1 / (2 * 1); bigrams (red red), (red bear): 1 / sqrt(2);
    # one bigram too many: exp(-1 / 72).
    expected = 10 * (0.5 + 1 / math.sqrt(2)) / 4 * math.exp(-1 / 72)
    assert cider.score("red red bear", ["red bear"]) == pytest.approx(expected)


def test_an_unknown_word_tells_as_much_as_a_rare_one() -> None:
    # "green" occurs nowhere and "red" in one of two: both have idf log 2.
    cider = CiderD.from_corpus([["red bear"], ["blue bear"]])
    assert cider.score("green", ["green"]) == cider.score("red", ["red"]) == pytest.approx(2.5)


def test_document_frequency_counts_pictures_not_captions() -> None:
    cider = CiderD.from_corpus([["red", "red", "red red"], ["blue"]])
    assert cider.document_frequencies["red",] == 1


@given(captions, st.lists(captions, min_size=1, max_size=3))
def test_range(caption: str, references: list[str]) -> None:
    assert 0 <= CiderD.from_corpus(CORPUS).score(caption, references) <= 10 + 1e-9


@given(st.lists(st.tuples(captions, st.lists(captions, min_size=1, max_size=2)), max_size=4))
def test_a_score_does_not_depend_on_what_was_scored_before(pairs: list) -> None:
    used = CiderD.from_corpus(CORPUS)
    for caption, references in pairs:
        fresh = CiderD.from_corpus(CORPUS)
        assert used.score(caption, references) == fresh.score(caption, references)


def test_padding_and_repetition_cost() -> None:
    cider = CiderD.from_corpus(CORPUS)
    reference = "a red bear sits"
    honest = cider.score(reference, [reference])
    assert honest == pytest.approx(10)
    assert cider.score(" ".join([reference] * 2), [reference]) < 0.8 * honest
    assert cider.score(" ".join([reference] * 8), [reference]) < 0.01 * honest


def test_names_are_words() -> None:
    assert ("<Bo>", "sits") in count_ngrams("<Bo>, sits")


@pytest.mark.parametrize("corpus", [[], [["a red bear"]]])
def test_a_corpus_of_one_picture_is_refused(corpus: list) -> None:
    with pytest.raises(ValueError, match=f"references for {len(corpus)} pictures"):
        CiderD.from_corpus(corpus)


def test_no_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        CiderD.from_corpus(CORPUS).score("a", [])
