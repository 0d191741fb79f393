"""The ablation table: one row a configuration, means over seeds with intervals, best in bold.

Which configurations there are follows from the runs: the choices and overrides in which they
differ, other than the seed. What several runs share (the base model, the supervised stage) makes
one row.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from repic.metrics.column import Direction
from repic.settings import (
    SEED,
    is_of_prompt,
    settings_of,
    settings_of_each,
    varying_keys,
)
from repic.tables.columns import MetricColumn
from repic.tables.estimates import CONFIDENCE, Estimate, over_seeds
from repic.tables.runs import Cell, Labels, Run
from repic.tables.table import Column, Row, Table
from repic.words import counted

# Who sees nothing and names everybody that a retriever found says what the retriever says.
RETRIEVER = "the retriever itself (upper bound)"

# Options with a natural order; others follow by name.
_ORDER = "none zero low default high one two three four five mixed recognition quality combined"
ORDER = {option: rank for rank, option in enumerate(_ORDER.split())}


_WHICH_RUN = ("experiment", "method", "captioner")

SEEDS = Column("seeds", kind="number", unsaid=1)


@dataclass(frozen=True)
class Configuration(Row):
    """A row with what it is made of.

    Attributes:
        block: the settings of its prompts, if those vary.
        phase: which model's captions.
        runs: seed -> the run they come from; "" is the seed of what does not depend on it.
    """

    cells: tuple[Estimate | None, ...]
    phase: str = ""
    runs: Mapping[str, Run] = field(default_factory=dict, compare=False)

    @property
    def num_seeds(self) -> int:
        """How many different results it is the mean of."""
        return int(self.asides[0])


@dataclass(frozen=True)
class Ablation(Table):
    """A table of configurations, whose columns are metrics."""

    columns: Sequence[MetricColumn]
    rows: Sequence[Configuration]
    asides: Sequence[Column] = (SEEDS,)


def ablation(
    runs: Sequence[Run], columns: Sequence[MetricColumn] = (), *, title: str = "", note: str = ""
) -> Ablation:
    """Compare configurations.

    Args:
        runs: finished runs; several seeds of one configuration are averaged.
        columns: what to show.
        title: of the table.
        note: on its columns; what the marks mean is added.

    Raises:
        ValueError: no runs; or two of the same configuration and seed with different results.
    """
    if not runs:
        raise ValueError("a table needs at least one finished run")
    columns = tuple(columns)
    keys = varying_keys(runs)
    found = dict.fromkeys(phase for run in runs for phase in run.metrics)
    rows = [
        row
        for phase in sorted(found, key=lambda phase: not author_of(runs, phase).is_shared)
        for row in _phase_rows(runs, phase, keys, columns)
    ]
    blocks = list(dict.fromkeys(row.block for row in rows))
    rows.sort(key=lambda row: blocks.index(row.block))
    marks = _note(rows, {column.direction for column in columns})
    parts = (note, _versions(runs), _fewer_seeds(rows, columns), marks)
    note = " ".join(filter(None, parts))
    return Ablation(title, columns, tuple(rows), note)


def author_of(runs: Sequence[Run], phase: str) -> Labels:
    """Who wrote captions that several runs have under one name."""
    return next(run.authors[phase] for run in runs if phase in run.metrics)


def is_retrieving(run: Run) -> bool:
    """Whether a retriever found who is introduced."""
    return settings_of(run)["retrieval"] != "skip"


@dataclass(frozen=True)
class _Result:
    """A phase's cells in one run, and the settings that may have brought them about."""

    run: Run
    settings: Mapping[str, str]
    cells: Mapping[str, Cell]

    @property
    def num_values(self) -> int:
        return sum(map(len, self.cells.values()))


def _phase_rows(
    runs: Sequence[Run], phase: str, keys: Sequence[str], columns: Sequence[MetricColumn]
) -> list[Configuration]:
    """One row for each configuration of a phase."""
    results = []
    for run, told in zip(runs, settings_of_each(runs), strict=True):
        if phase in run.metrics:
            settings = {k: v for k, v in told.items() if k in keys}
            with_seed = {**settings, SEED: str(run.seed)}
            results.append(_Result(run, with_seed, run.metrics[phase]))
    relevant = [*keys, SEED]
    if clash := _clash(results, relevant):
        a, b = (result.run.folder for result in clash)
        raise ValueError(
            f"{a} and {b} are the same configuration and seed, but their {phase!r} results"
            " differ: leave one of them out"
        )
    if author_of(runs, phase).is_shared:
        # What a setting has no influence on is one thing, not one for each setting.
        for key in [SEED, *(k for k in keys if not is_of_prompt(k))]:
            fewer = [k for k in relevant if k != key]
            if not _clash(results, fewer):
                relevant = fewer
    told = [k for k in relevant if k != SEED and not _is_of_the_run(k, results)]
    groups: dict[tuple[str | None, ...], dict[str, _Result]] = {}
    for result in results:
        group = groups.setdefault(_values(result, told), {})
        seed = result.settings[SEED] if SEED in relevant else ""
        # Of equal ones that which says most: a run without a reward has no parts to weigh.
        if seed not in group or result.num_values >= group[seed].num_values:
            group[seed] = result
    return [
        _row(phase, told, values, groups[values], columns)
        for values in sorted(groups, key=_natural)
    ]


def _is_of_the_run(key: str, results: Sequence[_Result]) -> bool:
    """Whether a setting only says which run a phase is in, and so nothing beside its label."""
    return key in _WHICH_RUN and len({result.settings.get(key) for result in results}) == 1


def _row(
    phase: str,
    keys: Sequence[str],
    values: Sequence[str | None],
    results: Mapping[str, _Result],
    columns: Sequence[MetricColumn],
) -> Configuration:
    settings = [(k, v) for k, v in zip(keys, values, strict=True) if v is not None]
    runs = {seed: result.run for seed, result in results.items()}
    author = author_of(list(runs.values()), phase)
    is_retriever = not author.has_model and all(map(is_retrieving, runs.values()))
    label = RETRIEVER if is_retriever else author.label
    if settings:
        label += f" ({', '.join(f'{k}={v}' for k, v in settings)})"
    cells = [result.cells for result in results.values()]
    return Configuration(
        label=label,
        cells=tuple(estimate_of(cells, column) for column in columns),
        asides=(len(results),),
        block=", ".join(f"{k}={v}" for k, v in settings if is_of_prompt(k)),
        phase=phase,
        runs=runs,
    )


def estimate_of(cells: Sequence[Mapping[str, Cell]], column: MetricColumn) -> Estimate | None:
    """A column's value over results of several seeds; None where there is none."""
    found = [by_count[column.count] for by_count in cells if column.count in by_count]
    values = {
        i: value
        for i, cell in enumerate(found)
        if isinstance(value := cell.get(column.metric), float) and not math.isnan(value)
    }
    if not values:
        return None
    if len(values) > 1:
        return over_seeds(list(values.values()))
    ((index, value),) = values.items()
    interval = found[index].get(f"{column.metric}_ci")
    low, high = interval if isinstance(interval, tuple) else (math.nan, math.nan)
    return Estimate(value, low, high, num_seeds=1)


def _clash(results: Sequence[_Result], keys: Sequence[str]) -> tuple[_Result, _Result] | None:
    """Two results that agree in the keys, and not in the numbers that both have."""
    seen: dict[tuple[str | None, ...], list[_Result]] = {}
    for result in results:
        others = seen.setdefault(_values(result, keys), [])
        for other in others:
            if _differ(other.cells, result.cells):
                return other, result
        # One with the same metrics as another stands for both.
        if not any(_metrics(other.cells) == _metrics(result.cells) for other in others):
            others.append(result)
    return None


def _differ(one: Mapping[str, Cell], other: Mapping[str, Cell]) -> bool:
    """Whether results are of other numbers of concepts, or a metric of both has two values."""
    if one.keys() != other.keys():
        return True
    # As text, because NaN is not equal to itself.
    return any(
        repr(cell[metric]) != repr(other[count][metric])
        for count, cell in one.items()
        for metric in cell.keys() & other[count].keys()
    )


def _metrics(cells: Mapping[str, Cell]) -> dict[str, set[str]]:
    return {count: set(cell) for count, cell in cells.items()}


def _values(result: _Result, keys: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(result.settings.get(key) for key in keys)


def _natural(values: Iterable[str | None]) -> tuple[tuple[int, str], ...]:
    return tuple((ORDER.get(v or "", len(ORDER)), v or "") for v in values)


def _versions(runs: Sequence[Run]) -> str:
    """Of which versions of the code the runs are, where of several; it may be what differs."""
    counts = Counter(run.git_commit or "unknown" for run in runs if run.metrics)
    if len(counts) < 2:
        return ""
    told = (
        f"{code[:10]}{code[40:]} ({counted(number, 'run')})"  # -dirty, behind the whole hash
        for code, number in counts.items()
    )
    return f"Runs of different versions of the code: {', '.join(told)}."


def _fewer_seeds(rows: Sequence[Configuration], columns: Sequence[MetricColumn]) -> str:
    """Which cells are means of fewer seeds than their rows, as some had no value (NaN)."""
    cells = [
        f"{column.label} of {row.label}: {estimate.num_seeds} of {row.num_seeds}"
        for row in rows
        for column, estimate in zip(columns, row.cells, strict=True)
        if estimate is not None and estimate.num_seeds < row.num_seeds
    ]
    if not cells:
        return ""
    more = f"; and {len(cells) - 3} more" if len(cells) > 3 else ""
    return f"Seeds that have a value, where not all have: {'; '.join(cells[:3])}{more}."


def _note(rows: Sequence[Configuration], directions: Collection[Direction]) -> str:
    estimates = [e for row in rows for e in row.cells if e is not None and e.has_interval]
    percent = f"{100 * CONFIDENCE:.0f} %"
    parts = []
    if any(e.num_seeds > 1 for e in estimates):
        parts.append(f"±: {percent} confidence interval over seeds (Student's t).")
    if any(e.num_seeds == 1 for e in estimates):
        parts.append(f"[low, high]: one result; {percent} bootstrap interval over scenes.")
    words = {"up": "highest", "down": "lowest"}
    if best := " or ".join(word for direction, word in words.items() if direction in directions):
        parts.append(f"Bold: the {best} value of its column, which is not a test of significance.")
    return " ".join(parts)
