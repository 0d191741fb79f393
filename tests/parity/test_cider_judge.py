"""CIDEr over arrays equals pycocoevalcap's, whatever the captions are."""

import random

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider as Judge

from repic.metrics.cider import cider_scores, words

WORDS = [
    "a",
    "b",
    "cat",
    "<bo>",
    "<Miss Bo>",
    "🐶",
    "\n",
    "dog.",
    "(x)",
    "is",
    "don't",
    "3.5",
    "it's",
]


def judged(preds: list[str], targets: list[list[str]]) -> np.ndarray:
    answers = {i: words([text]) for i, text in enumerate(preds)}
    references = {i: words(group) for i, group in enumerate(targets)}
    return 100 * np.asarray(Judge().compute_score(references, answers)[1])


def ours(preds: list[str], targets: list[list[str]]) -> np.ndarray:
    return cider_scores(words(preds), [words(group) for group in targets])


def text(rng: random.Random, *lengths: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.choice(lengths)))


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_judge(seed: int) -> None:
    rng = random.Random(seed)
    num = rng.randint(2, 7)
    preds = [text(rng, 0, 1, 2, 5, 30, 400) for _ in range(num)]
    targets = [[text(rng, 0, 3, 30) + " z" for _ in range(rng.randint(1, 5))] for _ in range(num)]
    expected = judged(preds, targets)
    np.testing.assert_allclose(ours(preds, targets), expected, atol=1e-9, rtol=1e-9)


def test_empty_captions_and_captions_of_2000_words() -> None:
    preds = ["", "dog " * 2000, "\n\n", "[]"]
    targets = [["a dog"], ["dog " * 1999], ["z", "a z"], ["one", "a long one"]]
    expected = judged(preds, targets)
    np.testing.assert_allclose(ours(preds, targets), expected, atol=1e-9)
    assert expected[1] > 0
    np.testing.assert_array_equal(ours(["", ""], [["a"], ["b"]]), [0, 0])
