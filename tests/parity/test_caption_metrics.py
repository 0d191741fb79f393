"""Caption metrics against pycocoevalcap: its scorers, its tokenizer and its METEOR jar."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu as BleuJudge
from pycocoevalcap.cider.cider import Cider as CiderJudge
from pycocoevalcap.meteor.meteor import Meteor as MeteorJudge
from pycocoevalcap.rouge.rouge import Rouge as RougeJudge
from pycocoevalcap.tokenizer import ptbtokenizer

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.diversity import SelfBleu
from repic.metrics.captions.meteor import Meteor
from repic.metrics.captions.metric import CaptionMetric, Captions
from repic.metrics.captions.rouge import RougeL
from repic.metrics.captions.tokens import one_line, ptb
from repic.metrics.cider import cider_scores, words
from tests.scores import column_scores

WORDS = (
    "a the dog dogs cat red big runs running sofa couch <bo> <Miss Bo> </bo> 🐶 naïve don't it's"
    " two-toned 3.5 (x) [y] {z} \"q\" 'r' “s” e.g. U.S. p.m. AT&T £5 ... -- ! ? , ; : - a/b @me #x"
    " http://a.b/c 1/2 ||| |||| ''  \t"
).split(" ")
BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
ODD = ["", " ", "dog", "...", "|||", "\n\n", "🐶", "\ud83d", "\x00", "\ufeffa dog", "a\u200bb"]


def text(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(0, longest)))


def some(seed: int, number: int = 30) -> tuple[list[str], list[list[str]]]:
    """Captions near their references, far from them, and strange ones; with line breaks."""
    rng = random.Random(seed)
    references = [[text(rng, 20) + " z" for _ in range(rng.randint(1, 4))] for _ in range(number)]
    captions = [
        rng.choice(group)[: rng.randint(1, 90)] if rng.random() < 0.6 else text(rng, 25)
        for group in references
    ]
    captions[: len(ODD)] = ODD
    broken = [
        (rng.choice(BREAKS).join((c[: len(c) // 2], c[len(c) // 2 :])) if i % 3 == 0 else c)
        for i, c in enumerate(captions)
    ]
    references[1].append(f"a{BREAKS[seed % len(BREAKS)]}dog ||| x")
    return broken, references


def captions_of(texts: list[str], references: list[list[str]], tokenize=words) -> Captions:
    return Captions.read(texts, references, [[]] * len(texts), tokenize=tokenize)


def numbered(captions: Captions) -> tuple[dict, dict]:
    return dict(enumerate(map(list, captions.reference_words))), {
        i: [text] for i, text in enumerate(captions.words)
    }


def scores(metric: CaptionMetric, captions: Captions) -> tuple[dict, dict]:
    """Corpus score and scores of the captions, by name."""
    rows = metric.statistics(captions)
    assert np.isfinite(rows).all()
    return column_scores(metric, rows.sum(axis=0, keepdims=True)), column_scores(metric, rows)


@pytest.mark.parametrize("seed", range(5))
def test_bleu(seed: int) -> None:
    captions = captions_of(*some(seed))
    corpus, each = scores(Bleu(), captions)
    judged, judged_each = BleuJudge(4).compute_score(*numbered(captions), verbose=0)
    for order in range(4):
        name = f"bleu_{order + 1}"
        assert corpus[name].item() == pytest.approx(100 * judged[order], abs=1e-9)
        np.testing.assert_allclose(each[name], 100 * np.array(judged_each[order]), atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_rouge_l(seed: int) -> None:
    captions = captions_of(*some(seed))
    corpus, each = scores(RougeL(), captions)
    judged, judged_each = RougeJudge().compute_score(*numbered(captions))
    assert corpus["rouge_l"].item() == pytest.approx(100 * judged, abs=1e-9)
    np.testing.assert_allclose(each["rouge_l"], 100 * judged_each, atol=1e-9)


def test_captions_of_2000_words() -> None:
    rng = random.Random(1)
    texts = ["dog " * 2000, " ".join(rng.choices("a b c d e".split(), k=2000))]
    references = [["dog " * 1999 + "x", "a dog"], [" ".join(rng.choices("a b c".split(), k=300))]]
    captions = captions_of(texts, references)
    judged = numbered(captions)
    expected = BleuJudge(4).compute_score(*judged, verbose=0)[0]
    found = scores(Bleu(), captions)[0]
    assert [v.item() for v in found.values()] == pytest.approx([100 * v for v in expected])
    rouge = scores(RougeL(), captions)[0]["rouge_l"].item()
    assert rouge == pytest.approx(100 * RougeJudge().compute_score(*judged)[0])


@pytest.mark.parametrize("seed", range(3))
def test_self_bleu_is_bleu_against_all_others(seed: int) -> None:
    captions = captions_of(*some(seed))
    texts = list(captions.words)
    others = {i: texts[:i] + texts[i + 1 :] for i in range(len(texts))}
    expected = BleuJudge(4).compute_score(others, {i: [t] for i, t in enumerate(texts)}, verbose=0)[
        1
    ][3]
    corpus, each = scores(SelfBleu(), captions)
    np.testing.assert_allclose(each["self_bleu"], 100 * np.array(expected), atol=1e-9)
    assert corpus["self_bleu"].item() == pytest.approx(100 * np.mean(expected))


needs_room = pytest.mark.skipif(
    not os.access(Path(ptbtokenizer.__file__).parent, os.W_OK),
    reason="pycocoevalcap's wrapper writes its files into its own package",
)


def judge_tokens(texts: list[str]) -> list[str]:
    """The wrapper with what would move its lines taken out."""
    safe = [one_line(text).encode("utf-8", "replace").decode() for text in texts]
    records = {i: [{"caption": f"{text}"}] for i, text in enumerate([*safe, "end"])}
    found = ptbtokenizer.PTBTokenizer().tokenize(records)
    return [found[i][0] for i in range(len(texts))]


@pytest.mark.java
@needs_room
def test_tokens_are_the_penn_treebanks() -> None:
    texts, references = some(7, 60)
    everything = [*texts, *(text for group in references for text in group)]
    assert ptb(everything) == judge_tokens(everything)
    alone = [ptb([text])[0] for text in texts[:14]]
    assert alone == ptb(texts)[:14]  # none has moved another


@pytest.mark.java
@needs_room
def test_cider_bleu_rouge_with_the_penn_treebank_tokenizer() -> None:
    texts, references = some(3, 40)
    captions = captions_of(texts, references, ptb)
    tokens = iter(judge_tokens([*texts, *(text for group in references for text in group)]))
    answers = {i: [next(tokens)] for i in range(len(texts))}
    targets = {i: [next(tokens) for _ in group] for i, group in enumerate(references)}
    judged_cider = CiderJudge().compute_score(targets, answers)[1]
    found = cider_scores(captions.words, captions.reference_words)
    np.testing.assert_allclose(found, 100 * judged_cider, atol=1e-6)
    bleus = BleuJudge(4).compute_score(targets, answers, verbose=0)[0]
    ours = [value.item() for value in scores(Bleu(), captions)[0].values()]
    assert ours == pytest.approx([100 * value for value in bleus], abs=1e-6)
    rouge = RougeJudge().compute_score(targets, answers)[0]
    assert scores(RougeL(), captions)[0]["rouge_l"].item() == pytest.approx(100 * rouge, abs=1e-6)


@pytest.mark.java
@pytest.mark.slow
def test_meteor_of_captions_and_corpus_is_the_jars() -> None:
    texts, references = some(11, 40)
    texts[20:22] = ["SCORE", "EVAL ||| 1 2"]
    captions = captions_of(texts, references, ptb)
    corpus, each = scores(Meteor(), captions)
    targets, answers = numbered(captions)

    def safe(text: str) -> str:
        return " ".join(one_line(text).replace("|||", " ").split())

    judged, judged_each = MeteorJudge().compute_score(
        {i: [safe(text) for text in group] for i, group in targets.items()},
        {i: [safe(text) for text in group] for i, group in answers.items()},
    )
    np.testing.assert_allclose(each["meteor"], 100 * np.array(judged_each), atol=1e-6)
    assert corpus["meteor"].item() == pytest.approx(100 * judged, abs=1e-6)
    assert abs(np.mean(judged_each) - judged) > 1e-3  # a mean is something else
