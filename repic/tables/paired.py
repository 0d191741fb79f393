"""Differences between rows of a table, never bare: each with its interval and p-value.

Several seeds of both: per seed, by Student's t. One run of each: their captions, paired by scene,
by ``repic.metrics.statistics``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from repic.data.predictions import read_predictions
from repic.metrics.captions.metric import CaptionMetric, MetricFailed
from repic.metrics.captions.metric import Captions as ReadCaptions
from repic.metrics.captions.tokens import TOKENIZERS
from repic.metrics.protocols import WIDTH, caption_metrics, caption_statistics, cluster_of
from repic.metrics.statistics import (
    Difference,
    MetricsOf,
    cluster_sums,
    contrast_interval,
    mean_difference,
    paired_differences,
)
from repic.tables import recounted
from repic.tables.ablation import Configuration, estimate_of
from repic.tables.columns import ALL, MetricColumn
from repic.tables.estimates import CONFIDENCE, Estimate
from repic.tables.runs import Run
from repic.tables.test_set import tokenizer_of
from repic.tables.weighting import Conditions, reward_metrics, weighted_rewards
from repic.types import Prediction


@dataclass(frozen=True)
class Captions:
    """Statistics of one phase's captions, a row a caption."""

    keys: tuple[tuple[str, int], ...]
    clusters: tuple[str, ...]
    rows: Float[np.ndarray, "N K"]


@dataclass(frozen=True)
class Term:
    """A cell of a contrast, a row's value in a column, with its sign: 1 or -1."""

    sign: int
    row: Configuration
    column: MetricColumn


class Comparison:
    """Compares rows; reads captions where it needs them, and each run's once.

    Args:
        num_samples: of the bootstrap, and of the exchange of captions.
        seed: of both.
        weights: of a weighted reward, if a table has one.
        conditions: of its parts; see ``repic.tables.weighting``.
    """

    def __init__(
        self,
        *,
        num_samples: int,
        seed: int,
        weights: Mapping[str, float] | None = None,
        conditions: Conditions | None = (),
    ) -> None:
        self.num_samples, self.seed, self.weights = num_samples, seed, weights or {}
        self.conditions = conditions
        self.recounted: set[str] = set()
        self.unpaired: dict[str, str] = {}  # metric -> why captions of it cannot be paired
        self._predictions: dict[tuple[str, str], list[Prediction]] = {}
        self._read: dict[tuple[str, str], list[ReadCaptions]] = {}
        self._captions: dict[tuple[str, str, CaptionMetric | None], Captions] = {}
        self._pairs: dict[tuple[object, ...], dict[str, Difference]] = {}

    def difference(
        self, row: Configuration, other: Configuration, column: MetricColumn
    ) -> Estimate | None:
        """A row minus another in one column; None where nothing can be paired."""
        by_seed = self._by_seed((Term(1, row, column), Term(-1, other, column)))
        if len(by_seed) > 1:
            return _as_estimate(mean_difference(list(by_seed.values()), CONFIDENCE))
        for seed in by_seed:
            sources = (_run(row, seed), row.phase), (_run(other, seed), other.phase)
            if self.can_pair(sources, column.metric):
                found = self._paired(*sources, column)[column.metric]
                return None if math.isnan(found.value) else _as_estimate(found, num_seeds=1)
        return None

    def can_pair(self, sources: Sequence[tuple[Run, str]], metric: str) -> bool:
        """Whether captions tell a metric; if not, ``unpaired`` says why.

        Raises:
            ValueError: a run has no such captions.
        """
        reason = self._why_not(sources, metric)
        if reason is not None:
            self.unpaired[metric] = reason
        return reason is None

    def _why_not(self, sources: Sequence[tuple[Run, str]], metric: str) -> str | None:
        owner = recounted.METRIC_OF.get(metric)
        if owner is None:
            if metric in _COUNTED:
                return None
            return recounted.OF_THE_WHOLE if metric in recounted.WHOLE else recounted.NOT_AT_HAND
        if (lacking := owner.missing()) is not None:
            return lacking
        try:
            for run, phase in sources:
                rows = self.captions(run, phase, metric).rows
                if not recounted.is_as_told(run, phase, owner, rows):
                    return recounted.OTHER_RULES
        except MetricFailed as error:
            return str(error)
        return None

    def contrast(self, terms: Sequence[Term]) -> Estimate | None:
        """Any sum of cells with signs, such as a difference of gains; None where a cell lacks."""
        by_seed = self._by_seed(terms)
        if len(by_seed) > 1:
            return _as_estimate(mean_difference(list(by_seed.values()), CONFIDENCE))
        for seed in by_seed:
            sources = [(_run(term.row, seed), term.row.phase) for term in terms]
            if all(self.can_pair(sources, term.column.metric) for term in terms):
                return _as_estimate(self._bootstrapped(terms, sources), num_seeds=1)
        return None

    def _by_seed(self, terms: Sequence[Term]) -> dict[str, float]:
        """The sum of each seed that all rows have, where every cell has a value."""
        found = {}
        for seed in common_seeds([term.row for term in terms]):
            value = 0.0
            for term in terms:
                run = _run(term.row, seed)
                cell = estimate_of([run.metrics[term.row.phase]], term.column)
                value += math.nan if cell is None else term.sign * cell.mean
            if not math.isnan(value):
                found[seed] = value
        return found

    def _paired(
        self, one: tuple[Run, str], other: tuple[Run, str], column: MetricColumn
    ) -> dict[str, Difference]:
        names = str(one[0].folder), one[1], str(other[0].folder), other[1]
        key = (*names, column.count, recounted.METRIC_OF.get(column.metric))
        if key not in self._pairs:
            first, second = self.aligned([one, other], [column.metric] * 2)
            mask = _of_count(first, column.count)
            clusters = [c for c, chosen in zip(first.clusters, mask, strict=True) if chosen]
            self._pairs[key] = paired_differences(
                cluster_sums(first.rows[mask], clusters),
                cluster_sums(second.rows[mask], clusters),
                _values_of(column.metric),
                num_samples=self.num_samples,
                confidence=CONFIDENCE,
                seed=self.seed,
            )
        return self._pairs[key]

    def _bootstrapped(
        self, terms: Sequence[Term], sources: Sequence[tuple[Run, str]]
    ) -> Difference:
        captions = self.aligned(sources, [term.column.metric for term in terms])
        blocks = [
            c.rows * _of_count(c, term.column.count)[:, None]
            for c, term in zip(captions, terms, strict=True)
        ]
        ends = np.cumsum([block.shape[1] for block in blocks])[:-1]

        def value_of(sums: Float[np.ndarray, "S K"]) -> Float[np.ndarray, " S"]:
            pairs = zip(terms, np.split(sums, ends, axis=1), strict=True)
            values = [t.sign * _values_of(t.column.metric)(p)[t.column.metric] for t, p in pairs]
            return np.sum(values, axis=0)

        return contrast_interval(
            cluster_sums(np.hstack(blocks), captions[0].clusters),
            value_of,
            num_samples=self.num_samples,
            confidence=CONFIDENCE,
            seed=self.seed,
        )

    def aligned(self, sources: Sequence[tuple[Run, str]], metrics: Sequence[str]) -> list[Captions]:
        """The captions of several (run, phase), all of the same scenes in the same order.

        Args:
            sources: whose.
            metrics: for each, which metric's statistics.

        Raises:
            ValueError: one has scenes that another has not.
        """
        pairs = zip(sources, metrics, strict=True)
        found = [self.captions(run, phase, metric) for (run, phase), metric in pairs]
        for captions, (run, phase) in zip(found, sources, strict=True):
            if captions.keys != found[0].keys:
                lacking = sorted({*captions.keys} ^ {*found[0].keys}) or captions.keys
                raise ValueError(
                    f"{run.folder}: its {phase!r} captions cannot be paired with those of"
                    f" {sources[0][0].folder}: one of them lacks the scene {lacking[0][0]!r} with"
                    f" {lacking[0][1]} concepts, or has it twice; evaluate both anew"
                )
        return found

    def captions(self, run: Run, phase: str, metric: str) -> Captions:
        """One phase's statistics for a metric, and for all that are counted together with it.

        Raises:
            ValueError: the run has no such captions.
            MetricFailed: a program that the metric calls has failed.
        """
        owner = recounted.METRIC_OF.get(metric)
        key = (str(run.folder), phase, owner)
        if key not in self._captions:
            predictions = self._predictions_of(run, phase)
            if owner is None:
                rows = caption_statistics(predictions, tokenizer=TOKENIZERS[tokenizer_of(run)])
                rows = np.hstack(
                    [rows, weighted_rewards(predictions, self.weights, self.conditions)]
                )
                self._note_recount(run, phase, rows)
            else:
                rows = recounted.statistics(owner, self._read_of(run, phase))
            self._captions[key] = Captions(
                tuple((p.id, p.num_concepts) for p in predictions),
                tuple(cluster_of(p) for p in predictions),
                rows,
            )
        return self._captions[key]

    def _predictions_of(self, run: Run, phase: str) -> list[Prediction]:
        """One phase's captions, ordered, so that draws are always the same."""
        key = (str(run.folder), phase)
        if key not in self._predictions:
            found = [p for p in read_predictions(run.folder) if p.phase == phase]
            if not found:
                raise ValueError(
                    f"{run.folder}: predictions.jsonl is not there, or has no {phase!r} captions;"
                    " a comparison of single runs pairs captions. Leave the run out, or give"
                    " several seeds of both"
                )
            self._predictions[key] = sorted(found, key=lambda p: (p.num_concepts, p.id))
        return self._predictions[key]

    def _read_of(self, run: Run, phase: str) -> list[ReadCaptions]:
        key = (str(run.folder), phase)
        if key not in self._read:
            tokenize = TOKENIZERS[tokenizer_of(run)]
            predictions = self._predictions_of(run, phase)
            self._read[key] = recounted.read_captions(predictions, tokenize=tokenize)
        return self._read[key]

    def _note_recount(self, run: Run, phase: str, rows: Float[np.ndarray, "N K"]) -> None:
        """Remember a run whose summary has other numbers than its captions now give."""
        now = _counted(rows.sum(axis=0, keepdims=True))
        then = run.metrics[phase].get(ALL, {})
        for metric in ("accuracy", "cider"):
            value = then.get(metric)
            if isinstance(value, float) and abs(value - now[metric].item()) > 0.05:
                self.recounted.add(str(run.folder))


def _counted(sums: Float[np.ndarray, "S K"]) -> dict[str, Float[np.ndarray, " S"]]:
    """Names, CIDEr and rewards, which are counted together."""
    return {**caption_metrics(sums[:, :WIDTH]), **reward_metrics(sums[:, WIDTH:])}


_COUNTED = frozenset(_counted(np.zeros((1, WIDTH + 2))))


def _values_of(metric: str) -> MetricsOf:
    owner = recounted.METRIC_OF.get(metric)
    return _counted if owner is None else owner.values


def common_seeds(rows: Sequence[Configuration]) -> list[str]:
    """Seeds of which every row has a result; a row that no seed changes has all.

    "" is the seed of rows that all are so.
    """
    sets = [set(row.runs) for row in rows if set(row.runs) != {""}]
    if not sets:
        return [""]
    return sorted(set.intersection(*sets), key=lambda seed: (len(seed), seed))


def _run(row: Configuration, seed: str) -> Run:
    return row.runs[seed] if seed in row.runs else row.runs[""]


def _of_count(captions: Captions, count: str) -> np.ndarray:
    return np.array([count in (ALL, str(number)) for _, number in captions.keys])


def _as_estimate(found: Difference, num_seeds: int | None = None) -> Estimate:
    number = found.num_pairs if num_seeds is None else num_seeds
    return Estimate(found.value, found.low, found.high, number, p_value=found.p_value)
