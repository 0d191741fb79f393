"""Captions for metrics, and what a metric makes of them, by column."""

from typing import Any

import numpy as np

from repic.metrics.captions.metric import CaptionMetric, Captions
from repic.metrics.cider import words
from repic.metrics.kept import measured


def read_captions(texts: Any, references: Any = None, infos: Any = None, **about: Any) -> Captions:
    """Split captions into words; without references, or infos, where none are given."""
    none = [()] * len(texts)
    return Captions.read(texts, references or none, infos or none, tokenize=words, **about)


def column_scores(metric: CaptionMetric, sums: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of rows of sums."""
    return measured(metric, sums).scores(sums)


def corpus(metric: CaptionMetric, captions: Captions) -> dict[str, float]:
    """Scores of all captions together."""
    sums = metric.statistics(captions).sum(axis=0, keepdims=True)
    return {name: value.item() for name, value in column_scores(metric, sums).items()}
