"""METEOR 1.5 by pycocoevalcap's jar, aggregated here so that a bootstrap can resample it.

Denkowski and Lavie 2014, https://aclanthology.org/W14-3348, sections 2 and 3: the jar aligns a
caption with its best reference and returns 23 counts; a score is a function of those, and the
corpus score is that function of their sums. The tests hold both equal to what the jar says.

The jar is spoken to line by line, with "|||" between texts. Line breaks and "|||" in a text would
make it answer for another caption, so they become spaces. It starts in about ten seconds, and its
time grows with the cube of a caption's length: 5 s for one that repeats itself for 800 words.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from pycocoevalcap.meteor import meteor as judge

from repic.metrics.captions.metric import Captions, Metric, MetricFailed
from repic.metrics.captions.tokens import NO_JAVA, has_java, one_line
from repic.metrics.column import MEANING, ScoreColumn

SCALE = 100.0

# The English parameters of the paper's table 2, and of the jar.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase

_COUNTS = 23
# Per stage: content words matched in caption and reference, function words matched in each.
_MATCHES = slice(4, 20)


def meteor_scores(sums: Float[np.ndarray, "S 24"]) -> Float[np.ndarray, "S 1"]:
    """METEOR × 100 of summed rows: a corpus has the score of its summed counts."""
    return np.where(sums[:, :1] > 0, SCALE * meteor(sums[:, 1:])[:, None], np.nan)


class Meteor(Metric):
    """METEOR × 100."""

    def __init__(self) -> None:
        column = ScoreColumn("meteor", "METEOR", "up", MEANING)
        super().__init__(column, values=meteor_scores)

    def missing(self) -> str | None:
        return None if has_java() else NO_JAVA

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        rows = np.zeros((len(captions.words), 1 + _COUNTS))
        if not any(captions.references):
            return rows  # nothing to start it for
        try:
            jar = _start()
            for row, text, group in zip(
                rows, captions.words, captions.reference_words, strict=True
            ):
                if group:
                    row[0], row[1:] = 1, without_whole(_counts(jar, text, group))
        except (OSError, ValueError) as error:  # a pipe without a reader, an answer that is none
            _start.cache_clear()
            raise MetricFailed(f"its jar failed ({error})") from error
        return rows


@functools.cache
def _start() -> Any:
    """Start the jar, once; it ends when this program closes its pipe."""
    return judge.Meteor()


def _counts(jar: Any, text: str, references: Sequence[str]) -> list[float]:
    answer = jar._stat(_plain(text), [_plain(reference) for reference in references])
    counts = [float(count) for count in answer.split()]
    if len(counts) != _COUNTS:
        raise ValueError(f"answered {answer[:60]!r}")
    return counts


def without_whole(counts: list[float]) -> list[float]:
    """Take the one chunk from a caption that agrees with its reference in all words.

    Nothing parts its words, so it has no penalty: alone, and in the jar's sums.
    """
    caption, reference = counts[:2]
    is_whole = list(counts[20:]) == [1, caption, reference]
    return [*counts[:20], 0.0 if is_whole else counts[20], *counts[21:]]


def _plain(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # half of a pair cannot be sent
    return " ".join(one_line(text).replace("|||", " ").split())


def meteor(counts: Float[np.ndarray, "S 23"]) -> Float[np.ndarray, " S"]:
    """The score, from 0 to 1, of rows of (summed) counts in the jar's order."""
    caption, reference, caption_function, reference_function = counts[:, :4].T
    matches = counts[:, _MATCHES].reshape(-1, 4, 4)
    chunks, caption_matched, reference_matched = counts[:, 20:].T
    precision = _share(matches[..., 0], matches[..., 2], caption, caption_function)
    recall = _share(matches[..., 1], matches[..., 3], reference, reference_function)
    below = (1 - ALPHA) * recall + ALPHA * precision
    mean = np.divide(precision * recall, below, out=np.zeros_like(below), where=below > 0)
    matched = (caption_matched + reference_matched) / 2
    parted = np.divide(chunks, matched, out=np.zeros_like(matched), where=matched > 0)
    return mean * (1 - GAMMA * parted**BETA)


def _share(
    content: Float[np.ndarray, "S 4"],
    function: Float[np.ndarray, "S 4"],
    length: Float[np.ndarray, " S"],
    function_length: Float[np.ndarray, " S"],
) -> Float[np.ndarray, " S"]:
    """Weighted matches by weighted length: a function word weighs less than a content word."""
    matched = (DELTA * content + (1 - DELTA) * function) @ STAGES
    whole = DELTA * (length - function_length) + (1 - DELTA) * function_length
    return np.divide(matched, whole, out=np.zeros_like(whole), where=whole > 0)
