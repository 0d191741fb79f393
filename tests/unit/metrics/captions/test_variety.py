"""Self-BLEU, Distinct, length and copying."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.copying import AgainstInfo, Copied, copied_words
from repic.metrics.captions.diversity import Distinct, Length, SelfBleu
from tests.scores import column_scores, corpus, read_captions

TEXTS = st.lists(
    st.lists(st.sampled_from("abcdef"), max_size=12).map(" ".join), min_size=2, max_size=6
)


def test_distinct_worked_by_hand() -> None:
    # a a b, a b: 2 different of 5 words; a-a, a-b, a-b: 2 different of 3 pairs.
    found = corpus(Distinct(), read_captions(["a a b", "a b", ""]))
    assert found == pytest.approx({"distinct_1": 40, "distinct_2": 200 / 3})


@given(TEXTS)
def test_distinct_counts_the_collection(texts: list[str]) -> None:
    found = corpus(Distinct(), read_captions(texts))
    for order in (1, 2):
        grams = [
            tuple(text.split()[i : i + order])
            for text in texts
            for i in range(len(text.split()) - order + 1)
        ]
        expected = 100 * len(set(grams)) / len(grams) if grams else math.nan
        assert found[f"distinct_{order}"] == pytest.approx(expected, nan_ok=True)


def test_self_bleu_worked_by_hand() -> None:
    same = "a red bear sits here"
    rows = SelfBleu().statistics(read_captions([same, same, "x y z w v"]))
    assert rows[:, 0] == pytest.approx([100, 100, 0], abs=0.02)
    # Of "a a a a a a" the other has two: precisions 2/6, 1/5, 0, 0.
    pair = read_captions(["a a a a a a", "a a b c d e"])
    assert SelfBleu().statistics(pair)[0, 0] < 0.1
    alone = corpus(SelfBleu(), read_captions(["a red bear"]))
    assert math.isnan(alone["self_bleu"])


@given(TEXTS)
def test_self_bleu_is_bleu_against_the_others(texts: list[str]) -> None:
    others = [texts[:i] + texts[i + 1 :] for i in range(len(texts))]
    against = read_captions(texts, others)
    expected = column_scores(Bleu(), Bleu().statistics(against))["bleu_4"]
    found = SelfBleu().statistics(read_captions(texts))[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_words_are_what_spaces_part() -> None:
    found = corpus(Length(), read_captions(["a  two-toned cat!", "\n", "<Miss Bo>"]))
    assert found["words"] == 5 / 3


INFO = "a red bear with a blue hat"


@pytest.mark.parametrize(
    ("caption", "count"),
    [
        ("", 0),
        ("red bear with", 0),  # a run of three
        ("see a red bear with it", 4),
        ("a red bear with a blue hat", 7),
        ("a red bear with x bear with a blue", 8),
        ("hat a red bear", 0),  # no run crosses from an end to a beginning
    ],
)
def test_copied_words_by_hand(caption: str, count: int) -> None:
    assert copied_words(caption.split(), [INFO.split(), "hat".split()]) == count


def test_copied_is_a_share_of_all_words_whose_prompt_has_infos() -> None:
    texts = ["see a red bear with it", "x y", "a red bear with"]
    found = read_captions(texts, infos=[[INFO], ["no"], []])
    assert corpus(Copied(), found)["copied"] == pytest.approx(100 * 4 / 8)
    assert math.isnan(corpus(Copied(), read_captions(["a red bear with"]))["copied"])


@given(st.lists(st.sampled_from("ab"), max_size=12), st.lists(st.sampled_from("ab"), max_size=12))
def test_what_is_copied_stands_in_a_run(caption: list[str], info: list[str]) -> None:
    joined = " ".join(info)
    starts = range(len(caption) - 3)
    copied = [start for start in starts if " ".join(caption[start : start + 4]) in joined]
    is_in = [any(start <= i < start + 4 for start in copied) for i in range(len(caption))]
    assert copied_words(caption, [info]) == sum(is_in)


def test_against_info_is_the_metric_with_infos_for_references() -> None:
    infos = [[INFO], ["a cat", "the cat"]]
    texts = ["a bear with a blue hat", "a cat sits"]
    found = corpus(AgainstInfo(Bleu()), read_captions(texts, infos=infos))
    there = corpus(Bleu(), read_captions(texts, infos))
    assert found == {f"copy_{name}": value for name, value in there.items()}
    columns = AgainstInfo(Bleu()).columns
    assert [c.name for c in columns] == [f"copy_bleu_{n}" for n in range(1, 5)]
    assert [c.is_shown for c in columns] == [True, False, False, True]
    assert {c.direction for c in columns} == {"none"}


def test_shares_of_distinct_belong_to_their_captions() -> None:
    texts = ["a b", "a c c"]
    rows = Distinct().statistics(read_captions(texts))
    counts = Counter("a b a c c".split())
    assert rows[:, 0] == pytest.approx([100 / counts["a"] + 100, 100 / 2 + 200 / 2])
    assert rows[:, 1].tolist() == [2, 3]
