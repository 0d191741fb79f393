"""The caption metrics of a run, side by side: statistics, scores, and what had to be left out."""

import logging
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import CaptionKey, CaptionMetric, Captions, MetricFailed
from repic.metrics.captions.tokens import NO_JAVA, TOKENIZERS, has_java
from repic.metrics.statistics import Score, bootstrap_intervals, cluster_sums
from repic.types import ImageSource

log = logging.getLogger(__name__)

Statistics = Mapping[str, Float[np.ndarray, "_ _"]]  # rows by metric

CIDER = "cider"  # may be asked for; it is always there, with or without


class CaptionScorer:
    """Score captions by several metrics.

    Args:
        chosen: names of metrics, in the order of their columns.
        scorers: the metrics to choose from.
        tokenizer: "words" or "ptb"; see ``repic.metrics.captions.tokens``.

    Raises:
        ValueError: a name is not among those to choose from.
    """

    def __init__(
        self, *, chosen: Sequence[str], scorers: Mapping[str, CaptionMetric], tokenizer: str
    ) -> None:
        for name in chosen:
            if name not in (CIDER, *scorers):
                options = ", ".join((CIDER, *scorers))
                raise ValueError(f"metrics.captions: {name!r} is not one of {options}")
        if tokenizer not in TOKENIZERS:
            options = " or ".join(TOKENIZERS)
            raise ValueError(f"metrics.tokenizer: {tokenizer!r} is not {options}")
        self._metrics = {name: scorers[name] for name in dict.fromkeys(chosen) if name != CIDER}
        self.tokenizer = tokenizer
        self.tokenize = TOKENIZERS[tokenizer]
        self.left_out: dict[str, str] = {}

    def check(self) -> None:
        """Say which metrics this machine cannot compute, before anything is computed.

        Raises:
            ValueError: the tokenizer needs Java, and there is none.
        """
        if self.tokenizer == "ptb" and not has_java():
            raise ValueError(f"metrics.tokenizer=ptb: {NO_JAVA}; tokenizer=words does without")
        for name, metric in self._metrics.items():
            if name not in self.left_out and (reason := metric.missing()) is not None:
                self._leave_out(name, reason)

    def read(
        self,
        texts: Sequence[str],
        references: Sequence[Sequence[str]],
        infos: Sequence[Sequence[str]],
        images: Sequence[ImageSource] | None = None,
        keys: Sequence[CaptionKey] | None = None,
    ) -> Captions:
        """Tokenize captions and what they are compared with."""
        return Captions.read(
            texts, references, infos, tokenize=self.tokenize, images=images, keys=keys
        )

    def statistics(self, captions: Captions) -> Statistics:
        """Rows of every metric that can be computed; zeros where a caption lacks what it needs."""
        self.check()
        found = {}
        for name, metric in self._metrics.items():
            if name not in self.left_out:
                try:
                    found[name] = metric.statistics(captions)
                except MetricFailed as error:
                    self._leave_out(name, str(error))
        return found

    def join(self, groups: Sequence[Statistics]) -> Statistics:
        """Put groups below each other; a metric that failed in one of them is left out."""
        names = [name for name in self._metrics if all(name in group for group in groups)]
        return {name: np.concatenate([group[name] for group in groups]) for name in names}

    def score(
        self,
        statistics: Statistics,
        clusters: Sequence[Hashable],
        *,
        num_samples: int,
        confidence: float,
        seed: int,
    ) -> Score:
        """Corpus scores with their intervals; only those that there are.

        Args:
            statistics: of the captions.
            clusters: what each caption belongs to, its image as a rule.
            num_samples: of the bootstrap over clusters.
            confidence: of the intervals.
            seed: of the bootstrap.
        """
        ends = np.cumsum([rows.shape[1] for rows in statistics.values()])
        if not len(ends) or not clusters:
            return Score({}, {})

        def values_of(sums: Float[np.ndarray, "S K"]) -> dict[str, Float[np.ndarray, " S"]]:
            parts = zip(statistics, np.split(sums, ends[:-1], axis=1), strict=True)
            scores = [self._metrics[name].values(part) for name, part in parts]
            return {name: values for found in scores for name, values in found.items()}

        sums = cluster_sums(np.hstack(list(statistics.values())), clusters)
        values = {
            name: value.item()
            for name, value in values_of(sums.sum(axis=0, keepdims=True)).items()
            if not np.isnan(value).any()
        }
        intervals = bootstrap_intervals(
            sums, values_of, num_samples=num_samples, confidence=confidence, seed=seed
        )
        return Score(values, {name: intervals[name] for name in values if name in intervals})

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = reason
        log.warning("%s is left out: %s", name, reason)
