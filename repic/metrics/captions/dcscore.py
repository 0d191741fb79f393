"""DCScore: facts of a caption that are right, and facts of the picture that it tells.

Ye et al. 2025, "Painting with Words" (DeCapBench), https://arxiv.org/abs/2503.07906: a judge takes
the caption apart into facts (each relevant, or a remark), finds those that say the same as a fact
that people have listed (the oracle's), and checks each with the picture.

    precision = right facts / facts
    recall = (sum over right facts of 1 / facts that say the same as its oracle fact)
             / (oracle facts + right facts that say what the oracle does not)
    DCScore = 100 · mean over captions of (F1 of all facts + F1 of relevant facts) / 2

Where we differ:
1. The oracle's facts are read from the reference captions, by the same judge.
2. A right fact without an oracle fact has the weight 1.
3. A name cannot be seen. Whoever checks is told what the oracle's facts say of names.
4. Without pictures at hand, a fact is right if it says the same as an oracle fact.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from repic.metrics.captions.grammar_facts import (
    REMARK,
    GrammarSource,
    judge_facts,
    scene_facts,
)
from repic.metrics.captions.judging import WHO_JUDGES, JudgedMetric, Outcome, Source, mean_outcome
from repic.metrics.captions.metric import Captions
from repic.metrics.column import JUDGES, ScoreColumn
from repic.values import Text


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a caption's fact.

    Attributes:
        is_relevant: it tells what is to be seen, and is no remark.
        is_right: the picture shows it.
        oracle: the place of the oracle's fact that says the same; None if none does.
    """

    is_relevant: bool
    is_right: bool
    oracle: int | None


@dataclass(frozen=True)
class Trial:
    """A judge's verdicts on all facts of a caption, and how many facts the oracle has."""

    verdicts: tuple[Verdict, ...]
    num_oracle: int


@runtime_checkable
class FactSource(Source, Protocol):
    """A judge of facts."""

    def trials(self, captions: Captions) -> list[list[Trial | None] | None]:
        """Judge each caption, once or several times.

        Returns:
            The trials of each caption, None for one that failed; None instead of a list where
            there is no oracle.
        """
        ...


class DCScore(JudgedMetric[FactSource]):
    """Columns ``dcscore``, ``dcscore_precision``, ``dcscore_recall`` (of all facts), in percent.

    Args:
        source: which of the sources.
        sources: judges by name.
    """

    def __init__(self, *, source: Text, sources: Mapping[str, FactSource]) -> None:
        notes = (
            "DCScore: mean of two F1 (P: right facts by facts; R: facts that are told by facts),"
            " in %.",
            WHO_JUDGES,
        )
        super().__init__(
            ScoreColumn("dcscore", "DCScore", "up", JUDGES, notes),
            ScoreColumn("dcscore_precision", "P", "up", JUDGES),
            ScoreColumn("dcscore_recall", "R", "up", JUDGES),
            key="metrics.scorers.dcscore",
            source=source,
            sources=sources,
        )

    def outcomes(self, captions: Captions) -> list[Outcome | None]:
        return [
            None
            if trials is None
            else mean_outcome([None if t is None else trial_scores(t) for t in trials])
            for trials in self.source.trials(captions)
        ]


def trial_scores(trial: Trial) -> tuple[float, float, float]:
    """DCScore, precision and recall of one trial, each in [0, 1].

    Example: of three facts two are right, and one of those is the first of two oracle facts; the
    other is new (P = 2/3, R = 2/3). Without the remark that is wrong: P = 1, R = 2/3.
        >>> told, new, remark = (Verdict(True, True, 0), Verdict(True, True, None),
        ...                      Verdict(False, False, None))
        >>> trial_scores(Trial((told, new, remark), 2))
        (0.733..., 0.666..., 0.666...)
    """
    everything = precision_recall(trial.verdicts, trial.num_oracle)
    relevant = [verdict for verdict in trial.verdicts if verdict.is_relevant]
    narrow = precision_recall(relevant, trial.num_oracle)
    return (f1(*everything) + f1(*narrow)) / 2, *everything


def precision_recall(verdicts: Sequence[Verdict], num_oracle: int) -> tuple[float, float]:
    """Precision and recall as in the module's head; 0 where there is nothing to divide by."""
    sharers = Counter(verdict.oracle for verdict in verdicts)
    right = [verdict for verdict in verdicts if verdict.is_right]
    new = sum(verdict.oracle is None for verdict in right)
    told = sum(1 / sharers[verdict.oracle] for verdict in right if verdict.oracle is not None)
    return len(right) / max(len(verdicts), 1), (told + new) / max(num_oracle + new, 1)


def f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 of two zeros."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


class GrammarFacts(GrammarSource):
    """A ``FactSource`` for text that a grammar reads: exact, and right where it says the same."""

    def trials(self, captions: Captions) -> list[list[Trial | None] | None]:
        return [
            self._trial(caption, references)
            for caption, references in zip(captions.texts, captions.references, strict=True)
        ]

    def _trial(self, caption: str, references: Sequence[str]) -> list[Trial | None] | None:
        truth = scene_facts(self.truth(references))
        if not truth:
            return None
        verdicts = [
            Verdict(claim.fact.slot != REMARK, claim.oracle is not None, claim.oracle)
            for claim in judge_facts(self.facts(caption), truth)
        ]
        return [Trial(tuple(verdicts), len(truth))]
