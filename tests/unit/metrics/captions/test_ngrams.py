"""BLEU, ROUGE-L and CIDEr-R: cases worked by hand, and what must hold of any captions."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.cider_r import CiderR, penalty
from repic.metrics.captions.rouge import RougeL, longest_common, rouge_l
from repic.metrics.cider import cider_scores, words
from tests.scores import column_scores, corpus, read_captions

TEXTS = st.lists(st.sampled_from("a b c d <bo> \n 🐶".split(" ")), max_size=9).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=2, max_size=6)
METRICS = (Bleu(), RougeL(), CiderR())


def test_bleu_worked_by_hand() -> None:
    texts = ["a red bear sits here now", "a cat"]
    references = [["a red bear sits", "the bear sits here now yes"], ["a cat is on a mat"]]
    found = corpus(Bleu(), read_captions(texts, references))
    # Matches by order 6+2, 4+1, 2+0 and 1+0 of 6+2, 5+1, 4+0, 3+0. Without "the" and "yes" all
    # words are matched, over both references; the pairs are a-red, red-bear, bear-sits, sits-here,
    # here-now; 8 words against 6 + 6 of the closest references.
    precisions = [8 / 8, 6 / 6, 4 / 4, 2 / 3]
    short = math.exp(1 - 12 / 8)
    for order in range(1, 5):
        expected = 100 * short * math.prod(precisions[:order]) ** (1 / order)
        assert found[f"bleu_{order}"] == pytest.approx(expected)


def test_bleu_of_a_corpus_is_no_mean() -> None:
    found = read_captions(["a b c d e f", "x"], [["a b c d e f"], ["y"]])
    rows = Bleu().statistics(found)
    each = column_scores(Bleu(), rows)["bleu_1"]
    assert each == pytest.approx([100, 0], abs=1e-3)
    assert corpus(Bleu(), found)["bleu_1"] == pytest.approx(100 * 6 / 7)


def test_rouge_l_worked_by_hand() -> None:
    # The best precision (2/2, the first reference) and the best recall (1/1, the second).
    assert rouge_l("red bear", ["a red old bear", "bear"]) == pytest.approx(1)
    precision, recall = 2 / 3, 2 / 4
    expected = 2.44 * precision * recall / (recall + 1.44 * precision)
    assert rouge_l("bear a sits", ["a bear sits here"]) == pytest.approx(expected)
    assert rouge_l("", ["a"]) == 0
    assert rouge_l("", [""]) == 1  # as the judge


def table(left: str, right: str) -> int:
    row = [0] * (len(right) + 1)
    for a in left:
        before = row
        row = [0]
        for j, b in enumerate(right):
            row.append(before[j] + 1 if a == b else max(before[j + 1], row[j]))
    return row[-1]


@given(st.text("abc", max_size=70), st.text("abcd", max_size=70))
def test_bits_count_what_the_table_counts(left: str, right: str) -> None:
    assert longest_common(list(left), list(right)) == table(left, right)
    assert longest_common(list(right), list(left)) == table(left, right)


def test_cider_r_worked_by_hand() -> None:
    found = read_captions(["a a bear", "cat sits"], [["a bear"], ["cat sits here"]])
    same = found.cosines
    # "a" once too often: (1/2 · 1)^(1/2); 3 words for 2.  Then nothing wrong; 2 words for 3.
    first = math.sqrt(1 / 2) ** 0.8 * math.exp(-((1 / 2) ** 2)) ** 0.2
    second = 1 * math.exp(-((1 / 3) ** 2)) ** 0.2
    rows = CiderR().statistics(found)
    expected = 1000 * np.array([first, second]) * same
    assert column_scores(CiderR(), rows)["cider_r"] == pytest.approx(expected)
    # a: 2/√5 · (2·1+…) — checked by itself: cosine of (2, 1) clipped to (1, 1), one order of four
    # of pairs (a-a and a-bear against a-bear), none of three.
    assert same[0] == pytest.approx((2 / math.sqrt(5) / math.sqrt(2) + 1 / math.sqrt(2)) / 4)


@given(TEXTS, TEXTS)
def test_the_penalty_is_a_share_and_1_for_the_reference_itself(text: str, other: str) -> None:
    def of(caption: str, reference: str) -> float:
        return penalty(Counter(caption.split()), len(caption.split()), reference)

    (text,), (other,) = words([text]), words([other])
    plain, reference = text.translate(BARE), other.translate(BARE)
    assert 0 <= of(plain, reference) <= 1
    if plain.split():
        assert of(plain, plain) == 1


BARE = str.maketrans("", "", "<>")


def test_long_references_survive_cider_r() -> None:
    """What it is for: a text of a hundred words that says half of it again is not worth nothing."""
    long = " ".join(f"w{i}" for i in range(100))
    found = read_captions([long + " w100 w101", "b"], [[long], ["c"]])
    half = read_captions([" ".join(long.split()[:70]), "b"], [[long], ["c"]])
    assert corpus(CiderR(), found)["cider_r"] > 450
    gaussian = cider_scores(half.words, half.reference_words)[0]
    ours = column_scores(CiderR(), CiderR().statistics(half))["cider_r"][0]
    assert gaussian < 1 < 500 < ours


@given(PAIRS)
def test_scores_do_not_depend_on_the_order_of_captions(pairs) -> None:
    texts, references = zip(*pairs, strict=True)
    turned = read_captions(texts[::-1], references[::-1])
    for metric in METRICS:
        there, back = metric.statistics(read_captions(texts, references)), metric.statistics(turned)
        np.testing.assert_allclose(there, back[::-1], atol=1e-9)


@given(PAIRS)
def test_a_caption_that_is_its_reference_is_best(pairs) -> None:
    texts, references = zip(*pairs, strict=True)
    found = read_captions([group[0] for group in references], [[group[0]] for group in references])
    given = read_captions(texts, references)
    for metric in (Bleu(), RougeL()):
        for name, best in corpus(metric, found).items():
            assert -1e-9 <= corpus(metric, given)[name] <= 100 + 1e-9
            if all(len(group[0].split()) > 4 for group in references) and "\n" not in str(texts):
                assert best == pytest.approx(100, abs=1e-3)


@given(PAIRS)
def test_without_references_there_is_no_score(pairs) -> None:
    texts = [text for text, _ in pairs]
    found = read_captions(texts, [[]] * len(texts))
    for metric in METRICS:
        rows = metric.statistics(found)
        assert not rows.any()
        assert all(math.isnan(value) for value in corpus(metric, found).values())
