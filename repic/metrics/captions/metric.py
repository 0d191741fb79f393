"""What a caption metric is: statistics of each caption, and a function of their sums.

A corpus score need not be the mean of its captions' scores (BLEU and METEOR divide sums of counts
by sums of counts). So a metric gives one row of statistics a caption, and says what sums of rows
are worth: one row alone is the caption's score, all rows together are the corpus score, and a
bootstrap sums the rows that it draws.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from repic.metrics.cider import cosines
from repic.metrics.column import ScoreColumn
from repic.types import ImageSource

Tokenizer = Callable[[Sequence[str]], list[str]]
Texts = Sequence[str]


@dataclass(frozen=True)
class CaptionKey:
    """What a caption is a caption of, for metrics that look something up for it.

    Attributes:
        image: the picture's key, or its file as captions name it.
        names: of those whom the caption should name.
        prompt: the request; None where it is not known.
    """

    image: str
    names: tuple[str, ...]
    prompt: str | None = None


@dataclass(frozen=True)
class Captions:
    """Captions with what they may be compared with; one entry a caption everywhere.

    Attributes:
        texts: the captions as they were written.
        references: captions by people; empty for every caption if there are none.
        infos: what the prompt says of those whom it introduces; may be empty.
        images: the pictures; None where they are not at hand.
        words: the captions' tokens, with one space between them.
        reference_words: the references' tokens.
        info_words: the infos' tokens.
        keys: what each is a caption of; None where nobody says.
        pools: the names that each one's prompt introduced; None where that is not known.
    """

    texts: Texts
    references: Sequence[Texts]
    infos: Sequence[Texts]
    images: Sequence[ImageSource] | None
    words: Texts
    reference_words: Sequence[Texts]
    info_words: Sequence[Texts]
    keys: Sequence[CaptionKey] | None = None
    pools: Sequence[tuple[str, ...] | None] | None = None

    @classmethod
    def read(
        cls,
        texts: Texts,
        references: Sequence[Texts],
        infos: Sequence[Texts],
        *,
        tokenize: Tokenizer,
        images: Sequence[ImageSource] | None = None,
        keys: Sequence[CaptionKey] | None = None,
        pools: Sequence[tuple[str, ...] | None] | None = None,
    ) -> "Captions":
        """Tokenize everything at once: each text by itself, and each different one once.

        Raises:
            ValueError: there are not as many references, infos, images, keys or pools as captions.
        """
        beside = {"references": references, "infos": infos, "images": images, "keys": keys}
        beside["pools"] = pools
        for name, found in beside.items():
            if found is not None and len(found) != len(texts):
                raise ValueError(f"{len(texts)} captions, but {name} for {len(found)}")
        groups = (*references, *infos)
        different = dict.fromkeys([*texts, *(text for group in groups for text in group)])
        words = dict(zip(different, tokenize(list(different)), strict=True))
        return cls(
            texts,
            references,
            infos,
            images,
            [words[text] for text in texts],
            [[words[text] for text in group] for group in references],
            [[words[text] for text in group] for group in infos],
            keys,
            pools,
        )

    @cached_property
    def cosines(self) -> Float[np.ndarray, " R"]:
        """Of every reference with its caption, as CIDEr-D and CIDEr-R both weigh them."""
        return cosines(self.words, self.reference_words)


@runtime_checkable
class CaptionMetric(Protocol):
    """One metric, which may have several columns (BLEU-1 to BLEU-4).

    Attributes:
        columns: what it gives.
        is_of_the_whole: whether a caption's statistics depend on the other captions of its model;
            then captions of two models cannot change hands one by one.
    """

    @property
    def columns(self) -> tuple[ScoreColumn, ...]: ...

    @property
    def is_of_the_whole(self) -> bool: ...

    def missing(self) -> str | None:
        """Say what this machine lacks for it, as the end of "<metric> is left out: "; or None."""
        ...

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        """Return a row for each caption, all finite; zeros for one that lacks what it needs.

        Raises:
            MetricFailed: a program that it calls has failed.
        """
        ...

    @property
    def values(self) -> "ValuesOf":
        """From sums of rows to scores, a column each; NaN where no caption was counted.

        A function that knows nothing of the metric's settings, as it stands in the module: those
        who read saved statistics have it by its name.
        """
        ...


ValuesOf = Callable[[Float[np.ndarray, "S K"]], Float[np.ndarray, "S C"]]


class MetricFailed(RuntimeError):
    """A program that a metric calls has failed; the message is for the table's note."""


def means(sums: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "S C"]:
    """Of pairs of columns, the first by the second: a sum of scores, and how many there are.

    Example:
        >>> means(np.array([[3.0, 2.0, 0.0, 0.0]])).tolist()
        [[1.5, nan]]
    """
    return ratio(sums[:, 0::2], sums[:, 1::2])


class Metric:
    """Base of metrics whose scores are ratios of two sums: as a rule the mean over captions.

    Args:
        columns: what it gives. Each has two statistics, the score and 1 if there is one, unless
            there are other ``values``.
        values: from sums of rows to scores.
        is_of_the_whole: whether a caption's statistics depend on its model's other captions.
    """

    def __init__(
        self, *columns: ScoreColumn, values: ValuesOf = means, is_of_the_whole: bool = False
    ) -> None:
        self.columns, self.values, self.is_of_the_whole = columns, values, is_of_the_whole

    def missing(self) -> str | None:
        """Nothing, unless a metric says so."""
        return None

    def rows(self, *scores: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N K"]:
        """Statistics of one array of scores a column; NaN means that there is none."""
        pairs = [(np.nan_to_num(column), ~np.isnan(column)) for column in scores]
        return np.stack([part for pair in pairs for part in pair], axis=1).astype(np.float64)


def ratio(part: np.ndarray, whole: np.ndarray, empty: float = math.nan) -> np.ndarray:
    """Divide; NaN, or another value, where the whole is 0."""
    return np.divide(part, whole, out=np.full(part.shape, empty), where=whole > 0)
