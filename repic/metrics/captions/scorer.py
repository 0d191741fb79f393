"""The caption metrics of a run, side by side: what they measure, and what had to be left out."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from repic.metrics.captions.metric import CaptionMetric, Captions, MetricFailed
from repic.metrics.captions.tokens import NO_JAVA, TOKENIZERS, has_java
from repic.metrics.kept import Measured, measured

log = logging.getLogger(__name__)

CIDER = "cider"  # may be asked for; it is always there, with or without


class CaptionScorer:
    """Measure captions by several metrics.

    Args:
        chosen: names of metrics, in the order of their columns.
        scorers: the metrics to choose from.
        tokenizer: "words" or "ptb"; see ``repic.metrics.captions.tokens``.
        always: metrics that stand before the chosen ones, asked for or not.

    Raises:
        ValueError: a name is not among those to choose from.
    """

    def __init__(
        self,
        *,
        chosen: Sequence[str],
        scorers: Mapping[str, CaptionMetric],
        tokenizer: str,
        always: Mapping[str, CaptionMetric] | None = None,
    ) -> None:
        for name in chosen:
            if name not in (CIDER, *scorers):
                options = ", ".join((CIDER, *scorers))
                raise ValueError(
                    f"metrics.captions, metrics.also: {name!r} is not one of {options}"
                )
        asked = {name: scorers[name] for name in dict.fromkeys(chosen) if name != CIDER}
        self.metrics = {**(always or {}), **asked}
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
        for name, metric in self.metrics.items():
            if name not in self.left_out and (reason := metric.missing()) is not None:
                self._leave_out(name, reason)

    def measure(self, captions: Captions, only: Sequence[str] = ()) -> dict[str, Measured]:
        """What every metric that can be computed measures; zeros where a caption lacks something.

        Args:
            captions: a collection of their own.
            only: names of metrics; all of them, if there are none.
        """
        self.check()
        found = {}
        for name in only or self.metrics:
            if name not in self.left_out:
                try:
                    found[name] = measured(
                        self.metrics[name], self.metrics[name].statistics(captions)
                    )
                except MetricFailed as error:
                    self._leave_out(name, str(error))
        return found

    def join(self, groups: Sequence[Mapping[str, Measured]]) -> dict[str, Measured]:
        """Put groups below each other; a metric that failed in one of them is left out."""
        names = [name for name in self.metrics if all(name in group for group in groups)]
        return {
            name: measured(
                self.metrics[name], np.concatenate([group[name].rows for group in groups])
            )
            for name in names
        }

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out[name] = reason
        log.warning("%s is left out: %s", name, reason)
