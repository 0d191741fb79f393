"""What a metric makes of captions, by column."""

import numpy as np

from repic.metrics.captions.metric import CaptionMetric, Captions
from repic.metrics.kept import measured


def column_scores(metric: CaptionMetric, sums: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of rows of sums."""
    return measured(metric, sums).scores(sums)


def corpus(metric: CaptionMetric, captions: Captions) -> dict[str, float]:
    """Scores of all captions together."""
    sums = metric.statistics(captions).sum(axis=0, keepdims=True)
    return {name: value.item() for name, value in column_scores(metric, sums).items()}
