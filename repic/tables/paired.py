"""Differences between rows of a table, never bare: each with its interval and p-value.

Several seeds of both: per seed, by Student's t. One run of each: their captions, paired by scene,
by ``repic.metrics.statistics``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from repic.metrics.kept import FILE, MEND, CaptionScores, Measured, read_scores
from repic.metrics.statistics import (
    Difference,
    cluster_sums,
    contrast_interval,
    mean_difference,
    paired_differences,
)
from repic.tables.ablation import Configuration, estimate_of
from repic.tables.columns import ALL, MetricColumn
from repic.tables.estimates import CONFIDENCE, Estimate
from repic.tables.runs import Run
from repic.tables.weighting import METRIC, Conditions, weighted_rewards

OF_THE_WHOLE = "depends on all captions of a model together; several seeds tell"
NOT_MEASURED = "was not measured of each caption; several seeds do"
OF_ANOTHER = "is computed by a metric outside the package that is no mean; several seeds do"

Source = tuple[Run, str]  # whose captions: of which phase


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
        self.unpaired: dict[str, str] = {}  # metric -> why captions of it cannot be paired
        self._scores: dict[tuple[str, str], CaptionScores] = {}
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
            if pair := self.measured(sources, column):
                found = self._paired(sources, pair, column)[column.metric]
                return None if math.isnan(found.value) else _as_estimate(found, num_seeds=1)
        return None

    def measured(self, sources: Sequence[Source], column: MetricColumn) -> list[Measured] | None:
        """What gives a metric, of each source's captions; None, and ``unpaired`` says why.

        Raises:
            ValueError: a run has no such captions.
        """
        metric, found = column.metric, [None]
        if column.is_of_captions:
            found = [self.scores(*source).owner(metric) for source in sources]
        there = [each for each in found if each is not None]
        if len(there) < len(found):
            self.unpaired[metric] = NOT_MEASURED
        elif any(each.is_of_the_whole for each in there):
            self.unpaired[metric] = OF_THE_WHOLE
        elif any(each.values is None for each in there):
            self.unpaired[metric] = OF_ANOTHER
        else:
            return there
        return None

    def contrast(self, terms: Sequence[Term]) -> Estimate | None:
        """Any sum of cells with signs, such as a difference of gains; None where a cell lacks."""
        by_seed = self._by_seed(terms)
        if len(by_seed) > 1:
            return _as_estimate(mean_difference(list(by_seed.values()), CONFIDENCE))
        for seed in by_seed:
            sources = [(_run(term.row, seed), term.row.phase) for term in terms]
            pairs = zip(terms, sources, strict=True)
            found = [self.measured([source], term.column) for term, source in pairs]
            if all(found):
                parts = [part for one in found if one for part in one]
                return _as_estimate(self._bootstrapped(terms, sources, parts), num_seeds=1)
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
        self, sources: Sequence[Source], pair: Sequence[Measured], column: MetricColumn
    ) -> dict[str, Difference]:
        names = [name for run, phase in sources for name in (str(run.folder), phase)]
        key = (*names, column.count, *(declared.name for declared in pair[0].columns))
        if key not in self._pairs:
            first = self.aligned(sources)[0]
            mask = first.of_count(column.count)
            pictures = [p for p, chosen in zip(first.pictures, mask, strict=True) if chosen]
            self._pairs[key] = paired_differences(
                cluster_sums(pair[0].rows[mask], pictures),
                cluster_sums(pair[1].rows[mask], pictures),
                pair[0].scores,
                num_samples=self.num_samples,
                confidence=CONFIDENCE,
                seed=self.seed,
            )
        return self._pairs[key]

    def _bootstrapped(
        self, terms: Sequence[Term], sources: Sequence[Source], parts: Sequence[Measured]
    ) -> Difference:
        captions = self.aligned(sources)
        blocks = [
            part.rows * scores.of_count(term.column.count)[:, None]
            for scores, term, part in zip(captions, terms, parts, strict=True)
        ]
        ends = np.cumsum([block.shape[1] for block in blocks])[:-1]

        def value_of(sums: Float[np.ndarray, "S K"]) -> Float[np.ndarray, " S"]:
            three = zip(terms, parts, np.split(sums, ends, axis=1), strict=True)
            values = [t.sign * part.scores(p)[t.column.metric] for t, part, p in three]
            return np.sum(values, axis=0)

        return contrast_interval(
            cluster_sums(np.hstack(blocks), captions[0].pictures),
            value_of,
            num_samples=self.num_samples,
            confidence=CONFIDENCE,
            seed=self.seed,
        )

    def aligned(self, sources: Sequence[Source]) -> list[CaptionScores]:
        """The captions of several (run, phase), all of the same scenes in the same order.

        Raises:
            ValueError: one has scenes that another has not.
        """
        found = [self.scores(run, phase) for run, phase in sources]
        for scores, (run, phase) in zip(found, sources, strict=True):
            if scores.keys != found[0].keys:
                lacking = sorted({*scores.keys} ^ {*found[0].keys}) or scores.keys
                raise ValueError(
                    f"{run.folder}: its {phase!r} captions cannot be paired with those of"
                    f" {sources[0][0].folder}: one of them lacks the scene {lacking[0][0]!r} with"
                    f" {lacking[0][1]} concepts, or has it twice; evaluate both anew"
                )
        return found

    def scores(self, run: Run, phase: str) -> CaptionScores:
        """What was measured of one phase's captions, ordered, so that draws are always the same.

        Raises:
            ValueError: the run has kept no such scores, or those of other captions.
        """
        key = (str(run.folder), phase)
        if key not in self._scores:
            kept = read_scores(run.folder).get(phase)
            if kept is None:
                raise ValueError(f"{run.folder / FILE}: has no {phase!r} captions; {MEND}")
            refuse_another_run_s(kept, run, phase)
            order = sorted(range(len(kept.keys)), key=lambda i: kept.keys[i][::-1])
            scores = kept.take(order)
            if self.weights:
                weighed = weighted_rewards(scores, self.weights, self.conditions)
                scores = replace(scores, metrics={**scores.metrics, METRIC: weighed})
            self._scores[key] = scores
        return self._scores[key]


def refuse_another_run_s(scores: CaptionScores, run: Run, phase: str) -> None:
    """Raise if kept scores do not add up to what the run's summary says."""
    told = run.metrics.get(phase, {}).get(ALL, {})
    for measured in scores.metrics.values():
        if measured.values is None:
            continue
        for name, value in measured.scores(measured.rows.sum(axis=0, keepdims=True)).items():
            said = told.get(name, math.nan)
            if isinstance(said, float) and not math.isnan(said) and not np.isclose(said, value[0]):
                raise ValueError(
                    f"{run.folder / FILE}: its {phase!r} captions have {name} {value[0]:.6g}, and"
                    f" summary.json says {said:.6g}: they are of two runs; {MEND}"
                )


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


def _as_estimate(found: Difference, num_seeds: int | None = None) -> Estimate:
    number = found.num_pairs if num_seeds is None else num_seeds
    return Estimate(found.value, found.low, found.high, number, p_value=found.p_value)
