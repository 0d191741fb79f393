"""Base of metrics that ask a judge: an exact one, or a model.

Where a judge gives no verdict, a caption has no value, and not 0.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float

from repic.judges.client import Judge
from repic.metrics.captions.metric import Captions, Metric, MetricFailed
from repic.metrics.column import JUDGES, ScoreColumn

log = logging.getLogger(__name__)

PERCENT = 100.0
WHO_JUDGES = "By toybox's grammar or by a model: metrics.scorers.<metric>.source."
NO_JUDGE = "no model is asked: choose judge=openai or judge=local"


@runtime_checkable
class Source(Protocol):
    """A judge.

    Attributes:
        may_fail: whether it is a model, which may not answer.
        needs: what it cannot judge without, for a table's note.
    """

    @property
    def may_fail(self) -> bool: ...

    @property
    def needs(self) -> str: ...

    def missing(self) -> str | None:
        """Say what this machine lacks for it, as ``CaptionMetric.missing`` does."""
        ...


S = TypeVar("S", bound=Source)


class ModelSource:
    """A judge that is a model.

    Args:
        judge: of ``conf/judge/``; None leaves the metric out.
    """

    may_fail = True
    needs = ""

    def __init__(self, *, judge: Judge | None) -> None:
        self.judge = judge

    def missing(self) -> str | None:
        return NO_JUDGE if self.judge is None else None

    @property
    def asked(self) -> Judge:
        """The judge, where ``missing`` has not said that there is none."""
        assert self.judge is not None, "missing() has said so"
        return self.judge


@dataclass(frozen=True)
class Outcome:
    """A caption's scores.

    Attributes:
        scores: one a column, in percent; None if no question about it was answered.
        failed: share of its questions that were not answered.
        weight: what the scores count in the mean over captions.
    """

    scores: tuple[float, ...] | None
    failed: float = 0.0
    weight: int = 1


def mean_outcome(scores: Sequence[tuple[float, ...] | None]) -> Outcome:
    """The mean of what a caption's questions gave, each from -1 to 1; None where no answer came."""
    told = [score for score in scores if score is not None]
    failed = 1 - len(told) / len(scores)
    if not told:
        return Outcome(None, failed)
    return Outcome(tuple(PERCENT * float(mean) for mean in np.mean(told, axis=0)), failed)


def require_answers(answers: Sequence[object]) -> None:
    """Raise if a model was asked and has answered nothing.

    What is known without it, such as that a blank caption says nothing, is no score of a set.

    Args:
        answers: to questions that were asked; None where there was no answer.

    Raises:
        MetricFailed: there are answers, and all of them are None.
    """
    if answers and all(answer is None for answer in answers):
        raise MetricFailed(f"the judge has answered none of {len(answers)} questions")


class JudgedMetric(Metric, ABC, Generic[S]):
    """A mean of captions' scores by one of several judges.

    With a judge that may fail there is one more column: ``<first column>_unjudged``, the share of
    questions in % to which there was no answer. What was answered alone counts in the others.

    Args:
        columns: what it gives.
        key: of the configuration.
        source: the judge's name.
        sources: the judges to choose from.

    Raises:
        ValueError: there is no judge of this name.
    """

    def __init__(
        self, *columns: ScoreColumn, key: str, source: str, sources: Mapping[str, S]
    ) -> None:
        if source not in sources:
            raise ValueError(f"{key}.source: {source!r} is not one of {', '.join(sources)}")
        self.source = sources[source]
        self._own = columns
        # How much a judge left out is in the files, and in the log where it is anything.
        unjudged = ScoreColumn(f"{columns[0].name}_unjudged", "-", "none", JUDGES, is_shown=False)
        super().__init__(*columns, *([unjudged] if self.source.may_fail else []))

    def missing(self) -> str | None:
        return self.source.missing()

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        """A row for each caption.

        Raises:
            MetricFailed: nothing could be judged, or no question was answered.
        """
        found = self.outcomes(captions)
        judged = [outcome for outcome in found if outcome is not None]
        if found and not judged:
            raise MetricFailed(f"no caption has {self.source.needs}")
        failed = sum(outcome.scores is None for outcome in judged)
        if judged and failed == len(judged):
            raise MetricFailed(f"the judge has judged none of {failed} captions")
        if any(outcome.failed for outcome in judged):
            log.warning(
                "%s: %d of %d captions have no value, and %.1f %% of the questions no answer",
                self._own[0].name,
                failed,
                len(judged),
                PERCENT * sum(outcome.failed for outcome in judged) / len(judged),
            )
        columns = np.full((len(found), len(self.columns)), np.nan)
        weights = np.ones(columns.shape)
        for i, outcome in enumerate(found):
            if outcome is not None and outcome.scores is not None:
                columns[i, : len(self._own)] = outcome.scores
                weights[i, : len(self._own)] = outcome.weight
            if outcome is not None and self.source.may_fail:
                columns[i, -1] = PERCENT * outcome.failed
        return self.rows(*columns.T) * np.repeat(weights, 2, axis=1)

    @abstractmethod
    def outcomes(self, captions: Captions) -> Sequence[Outcome | None]:
        """Judge; None for a caption that lacks what the judge needs."""
