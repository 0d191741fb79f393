"""CIDEr with our tokens against CIDEr with the Penn Treebank tokenizer, which is the usual one."""

import os
import random

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider as Judge
from pycocoevalcap.tokenizer import ptbtokenizer

from repic.metrics.cider import cider_scores, tokenize, words

SCENES = [
    (
        "A spotted red bear with a blue hat, <momi>, sits on the left.",
        "On the left there is a spotted red bear with a blue hat, <momi>.",
    ),
    (
        "In a meadow, a two-toned brown pig stands in the middle and <tavo> waves.",
        "<Tavo>'s friend is a two-toned pig; both don't move!",
    ),
    (
        "Here we see a plain white duck with green glasses, <lidu>, on the right.",
        "The toys are on a beach. On the right stands a plain duck, it's white.",
    ),
]
WORDS = "a the red bear duck with on left, <momi> <tavo>. two-toned isn't it's sits".split()


def ptb(captions: list[list[str]]) -> dict[int, list[str]]:
    records = {i: [{"caption": text} for text in group] for i, group in enumerate(captions)}
    return ptbtokenizer.PTBTokenizer().tokenize(records)


needs_room = pytest.mark.skipif(
    not os.access(os.path.dirname(ptbtokenizer.__file__), os.W_OK),
    reason="the tokenizer writes its files into its own package",
)


@pytest.mark.java
@needs_room
def test_tokens_agree_on_plain_captions() -> None:
    texts = [list(group) for group in SCENES]
    ours = [[" ".join(tokenize(text)) for text in group] for group in texts]
    assert list(ptb(texts).values()) == ours


@pytest.mark.java
@needs_room
def test_scores_agree_on_plain_captions() -> None:
    rng = random.Random(0)
    refs = [list(group) for group in SCENES * 4]
    preds = [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) for _ in refs]
    _, theirs = Judge().compute_score(ptb(refs), ptb([[pred] for pred in preds]))
    assert np.ptp(theirs) > 0
    ours = cider_scores(words(preds), [words(group) for group in refs])
    np.testing.assert_allclose(ours, 100 * theirs, rtol=1e-9)
