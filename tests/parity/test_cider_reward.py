"""Our CIDEr-D against pycocoevalcap's, which takes its frequencies from what it scores."""

import random

import pytest
from pycocoevalcap.cider.cider import Cider

from repic.parsing import tokenize_caption
from repic.rewards.cider import CiderD

WORDS = "a the red blue big bear cat dog sits stands on left right beach , . <bo> <mi>".split()


def sentence(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(0, longest)))


@pytest.mark.parametrize(("seed", "size", "longest"), [(0, 2, 8), (1, 30, 15), (2, 60, 60)])
def test_parity_with_pycocoevalcap(seed: int, size: int, longest: int) -> None:
    rng = random.Random(seed)
    references = [[sentence(rng, longest) for _ in range(rng.randint(1, 5))] for _ in range(size)]
    # Some captions near their references, as a trained policy's are.
    captions = [
        sentence(rng, longest) if rng.random() < 0.3 else rng.choice(texts)[: rng.randint(5, 200)]
        for texts in references
    ]

    def tokenized(texts: list[str]) -> list[str]:
        return [" ".join(tokenize_caption(text)) for text in texts]

    _, expected = Cider().compute_score(
        {i: tokenized(texts) for i, texts in enumerate(references)},
        {i: tokenized([caption]) for i, caption in enumerate(captions)},
    )
    cider = CiderD.from_corpus(references)
    scores = [
        cider.score(caption, texts) for caption, texts in zip(captions, references, strict=True)
    ]
    assert scores == pytest.approx(list(expected), rel=1e-9, abs=1e-12)
    assert max(scores) > 1  # something to compare
