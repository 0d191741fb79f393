"""How much of a caption is taken from what the prompt says of those whom it introduces.

A model that looks needs no such words; one that copies them writes them even where they are wrong
(RePIC, https://arxiv.org/abs/2506.18369, tables A.2 and A.3).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.bleu import grams
from repic.metrics.captions.metric import CaptionMetric, Captions, Metric
from repic.metrics.column import PROMPT, ScoreColumn

RUN = 4  # words
SCALE = 100.0
_MIDDLE_ORDERS = ("bleu_2", "bleu_3")  # two of BLEU's four are enough against the prompt


class Copied(Metric):
    """Words in runs of four or more that an info has as well, by all words of captions, in %."""

    def __init__(self) -> None:
        notes = (
            "copied: words in runs of four or more that the prompt's infos have, too, in %. Where"
            " the infos are wrong, low is good.",
        )
        super().__init__(ScoreColumn("copied", "copied", "none", PROMPT, notes))

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        rows = np.zeros((len(captions.words), 2))
        pairs = zip(captions.words, captions.info_words, strict=True)
        for row, (text, infos) in zip(rows, pairs, strict=True):
            if infos:
                tokens = text.split()
                copied = copied_words(tokens, [info.split() for info in infos])
                row[:] = SCALE * copied, len(tokens)
        return rows


def copied_words(caption: Sequence[str], infos: Sequence[Sequence[str]]) -> int:
    """Count the words of a caption in runs of ``RUN`` or more that stand in one info as well.

    Example:
        >>> copied_words("look a red bear with hat".split(), ["a red bear with no hat".split()])
        4
    """
    known = {run for info in infos for run in grams(info, RUN)}
    taken = {
        place + step
        for place, run in enumerate(grams(caption, RUN))
        if run in known
        for step in range(RUN)
    }
    return len(taken)


class AgainstInfo:
    """Another metric with the infos in the references' place; its columns begin with "copy_".

    Args:
        metric: one that compares with references.
    """

    def __init__(self, metric: CaptionMetric) -> None:
        self._metric = metric
        self.values, self.is_of_the_whole = metric.values, metric.is_of_the_whole
        self.columns = tuple(
            replace(
                column,
                name=f"copy_{column.name}",
                direction="none",
                table=PROMPT,
                notes=(),
                is_shown=column.is_shown and column.name not in _MIDDLE_ORDERS,
            )
            for column in metric.columns
        )

    def missing(self) -> str | None:
        return self._metric.missing()

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        changed = {"references": captions.infos, "reference_words": captions.info_words}
        return self._metric.statistics(replace(captions, **changed))
