import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics import cider
from repic.metrics.cider import tokenize

REFS = [
    ["a red bear sits on the left", "on the left there is a red bear"],
    ["a blue cat, <momi>, stands on a beach", "<momi> the blue cat is on a beach"],
    ["two grey owls sleep", "here two grey owls are asleep"],
]


def cider_scores(preds: list[str], targets: list[list[str]]) -> np.ndarray:
    return cider.cider_scores(cider.words(preds), [cider.words(group) for group in targets])


PREDS = ["a red bear on the left", "a blue cat stands on a beach", "a red bear sits"]


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A red bear.", "a red bear"),
        ("A two-toned bear - red!", "a two-toned bear red"),
        ("<Momi>'s hat", "<momi> 's hat"),
        ("<Miss  Bo> isn’t 3.5 feet; she'll", "<miss_bo> is n't 3.5 feet she 'll"),
        ("one\ntwo\u2028three\r\nfour\tfive", "one two three four five"),
        ("... (?) &", ""),
        ("mint and ants", "mint and ants"),
        ("fantôme Émile 猫", "fantôme émile 猫"),
    ],
)
def test_tokens(caption: str, tokens: str) -> None:
    assert " ".join(tokenize(caption)) == tokens


@given(st.text())
def test_tokens_never_hold_white_space(text: str) -> None:
    assert all(token.split() == [token] for token in tokenize(text))


def test_one_case_worked_by_hand() -> None:
    """Two pictures of one-word references: unigrams only, so n = 2..4 score 0.

    idf = ln 2 for a word of one picture. "red": the same vector as its reference, cosine 1, no
    length penalty (lengths count bigrams: 0 and 0). Mean over n is 1/4, times 10, times 100 = 250.
    "blue red": vector (ln 2, ln 2) against (0, ln 2) for "red"... its reference is "blue", so
    cosine 1/sqrt 2, and the length differs by one bigram: exp(-1/72).
    """
    scores = cider_scores(["red", "blue red"], [["red"], ["blue"]])
    expected = [250.0, 250.0 / math.sqrt(2) * math.exp(-1 / 72)]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def independent_cider(preds: list[str], targets: list[list[str]]) -> list[float]:
    """CIDEr-D written anew from the paper's equations, with plain dictionaries."""

    def grams(text: str, n: int) -> Counter:
        words = tokenize(text)
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    def score(pred: str, refs: list[str]) -> float:
        total = 0.0
        for n in (1, 2, 3, 4):
            df = Counter(g for group in targets for g in {g for r in group for g in grams(r, n)})

            def vector(text: str, n: int = n, df: Counter = df) -> dict:
                return {
                    g: c * math.log(len(preds) / max(1, df[g])) for g, c in grams(text, n).items()
                }

            h = vector(pred)
            for ref in refs:
                r = vector(ref)
                dot = sum(min(h[g], r[g]) * r[g] for g in h.keys() & r.keys())
                norm = math.hypot(*h.values()) * math.hypot(*r.values())
                gap = grams(pred, 2).total() - grams(ref, 2).total()
                total += dot / norm * math.exp(-(gap**2) / 72) if norm else 0.0
        return 1000 * total / 4 / len(refs)

    return [score(p, r) for p, r in zip(preds, targets, strict=True)]


def test_agrees_with_a_second_implementation() -> None:
    np.testing.assert_allclose(
        cider_scores(PREDS, REFS), independent_cider(PREDS, REFS), rtol=1e-12
    )


words = st.lists(st.sampled_from("red blue bear cat sits <momi>".split()), max_size=7).map(" ".join)


@given(st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=2, max_size=5))
def test_agrees_with_a_second_implementation_on_any_words(cases: list) -> None:
    preds, refs = [c for c, _ in cases], [[*r, "a word"] for _, r in cases]
    scores = cider_scores(preds, refs)
    np.testing.assert_allclose(scores, independent_cider(preds, refs), rtol=1e-9, atol=1e-9)
    assert np.all((scores >= 0) & (scores <= 1000 + 1e-6))


def test_order_does_not_matter_and_captions_cannot_shift_each_other() -> None:
    scores = cider_scores(PREDS, REFS)
    np.testing.assert_allclose(cider_scores(PREDS[::-1], REFS[::-1]), scores[::-1])
    # A caption of several lines, with what a line-based tokenizer would trip over.
    broken = cider_scores(["a red\r\nbear\u2028on the\n\nleft", *PREDS[1:]], REFS)
    np.testing.assert_allclose(broken, scores)
    worse = cider_scores(["", *PREDS[1:]], REFS)
    assert worse[0] == 0
    np.testing.assert_allclose(worse[1:], scores[1:])


def test_a_better_caption_scores_higher() -> None:
    scores = cider_scores([REFS[0][0], *PREDS[1:]], REFS)
    assert scores[0] > cider_scores(PREDS, REFS)[0] > cider_scores(["owls", *PREDS[1:]], REFS)[0]


def test_what_cannot_be_computed_is_nan() -> None:
    """The document frequencies of one picture tell nothing, and no picture's nothing at all."""
    assert np.isnan(cider_scores(["a red bear"], [["a red bear"]])).all()
    assert len(cider_scores([], [])) == 0
    scores = cider_scores([*PREDS, "a red bear"], [*REFS, []])
    np.testing.assert_array_equal(scores[:3], cider_scores(PREDS, REFS))
    assert np.isnan(scores[3])
    with pytest.raises(ValueError, match="2 captions, but references for 1"):
        cider.cider_scores(["x", "y"], [["x"]])
