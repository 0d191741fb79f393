"""The ablation table: one row a configuration, means over seeds with intervals, best in bold.

Which configurations there are follows from the runs: the choices and overrides in which they
differ, other than the seed. What several runs share (the base model, the supervised stage) makes
one row.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from repic.report.estimates import CONFIDENCE, Estimate, over_seeds
from repic.report.runs import Cell, Run

ALL = "all"
SEED = "seed"

# Phases that runs may share, in the order of their rows, and what a reader calls them.
SHARED = {"base": "base model", "name_everybody": "names everybody", "sft": "SFT only"}
LABELS = {**SHARED, "grpo": "+ RL"}

# Where a run is written and how it is watched changes no result.
IMMATERIAL = ("hydra", "outputs", "name", "fresh", "logger", "debug", "traceback", SEED)

# Options with a natural order; others follow by name.
_ORDER = "none zero low default high one two three four five mixed recognition quality combined"
ORDER = {option: rank for rank, option in enumerate(_ORDER.split())}


@dataclass(frozen=True)
class Column:
    """A metric at a number of concepts ("1" to "5", or "all").

    ``has_best``: whether the highest value is the best one, and so in bold.
    """

    label: str
    title: str
    metric: str
    count: str
    has_best: bool = True


@dataclass(frozen=True)
class Row:
    """One configuration; an estimate a column, None where there is nothing.

    ``phase`` and ``runs`` say whose results these are; runs may share a result.
    """

    label: str
    num_seeds: int
    estimates: tuple[Estimate | None, ...]
    phase: str = ""
    runs: tuple[Run, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Table:
    """A table that is ready to be written in any form; see ``repic.report.render``."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str
    row_title: str = "configuration"

    def is_best(self, row: int, column: int) -> bool:
        """Whether a cell shows the highest value of its column; of one row none is best."""
        if not self.columns[column].has_best:
            return False
        shown = [_shown(r.estimates[column]) for r in self.rows]
        best = max((value for value in shown if value is not None), default=None)
        return len(self.rows) > 1 and best is not None and shown[row] == best


def accuracy_columns(runs: Sequence[Run]) -> tuple[Column, ...]:
    """Recognition accuracy for every number of concepts that was evaluated, and CIDEr over all."""
    return (*count_columns(runs, "accuracy", "acc"), CIDER)


def count_columns(runs: Sequence[Run], metric: str, short: str) -> tuple[Column, ...]:
    """One metric for every number of concepts that was evaluated."""
    cells = (cells for run in runs for cells in run.metrics.values())
    counts = sorted({count for by_count in cells for count in by_count if count != ALL}, key=int)
    return tuple(
        Column(f"{short}@{c}", f"{metric} at {c} concept{'' if c == '1' else 's'}", metric, c)
        for c in counts
    )


CIDER = Column("CIDEr", "CIDEr × 100 over all scenes", "cider", ALL)

# Single concept | multi concept (3) | caption quality.
FOUNDING = (
    Column("single concept", "recognition accuracy % at 1 concept", "accuracy", "1"),
    Column("multi concept (3)", "recognition accuracy % at 3 concepts", "accuracy", "3"),
    Column("caption quality", "CIDEr × 100 over all scenes", "cider", ALL),
)


def ablation(
    runs: Sequence[Run],
    *,
    columns: Sequence[Column] | None = None,
    title: str = "Recognition accuracy (%) by number of concepts, and CIDEr",
    note: str = "",
) -> Table:
    """Compare configurations.

    Args:
        runs: finished runs; several seeds of one configuration are averaged.
        columns: what to show; None shows ``accuracy_columns``.
        title: of the table.
        note: on its columns; what the marks mean is added.

    Raises:
        ValueError: no runs; or two of the same configuration and seed with different results.
    """
    if not runs:
        raise ValueError("a table needs at least one finished run")
    columns = tuple(accuracy_columns(runs) if columns is None else columns)
    keys = varying_keys(runs)
    found = dict.fromkeys(phase for run in runs for phase in run.metrics)
    order = [p for p in SHARED if p in found] + [p for p in found if p not in SHARED]
    rows = [row for phase in order for row in _phase_rows(runs, phase, keys, columns)]
    marks = _note(rows, has_best=any(column.has_best for column in columns))
    return Table(
        title=title, columns=columns, rows=tuple(rows), note=" ".join(filter(None, (note, marks)))
    )


def varying_keys(runs: Sequence[Run]) -> tuple[str, ...]:
    """Configuration keys in which runs differ, the seed and the immaterial ones left out."""
    settings = [settings_of(run) for run in runs]
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return tuple(
        key
        for key in keys
        if key.split(".")[0] not in IMMATERIAL and len({s.get(key) for s in settings}) > 1
    )


def settings_of(run: Run) -> dict[str, str]:
    """Choices and overrides of a run by key; a choice says more than the override behind it."""
    pairs = (override.lstrip("+~").partition("=") for override in run.overrides)
    return {**{key: value for key, _, value in pairs}, **run.choices}


@dataclass(frozen=True)
class _Result:
    """A phase's cells in one run, and the settings that may have brought them about."""

    run: Run
    settings: Mapping[str, str]
    cells: Mapping[str, Cell]


def _phase_rows(
    runs: Sequence[Run], phase: str, keys: Sequence[str], columns: Sequence[Column]
) -> list[Row]:
    """One row for each configuration of a phase."""
    results = []
    for run in runs:
        if phase in run.metrics:
            settings = {k: v for k, v in settings_of(run).items() if k in keys}
            with_seed = {**settings, SEED: str(run.seed)}
            results.append(_Result(run, with_seed, run.metrics[phase]))
    relevant = [*keys, SEED]
    if clash := _clash(results, relevant):
        a, b = (result.run.folder for result in clash)
        raise ValueError(
            f"{a} and {b} are the same configuration and seed, but their {phase!r} results"
            " differ: leave one of them out"
        )
    if phase in SHARED:
        # What a setting has no influence on is one thing, not one for each setting.
        for key in [SEED, *keys]:
            fewer = [k for k in relevant if k != key]
            if not _clash(results, fewer):
                relevant = fewer
    shown = [k for k in relevant if k != SEED]
    groups: dict[tuple[str | None, ...], dict[str, _Result]] = {}
    members: dict[tuple[str | None, ...], list[Run]] = {}
    for result in results:
        values = _values(result, shown)
        group = groups.setdefault(values, {})
        group[result.settings[SEED] if SEED in relevant else ""] = result
        members.setdefault(values, []).append(result.run)
    return [
        replace(
            _row(phase, shown, values, list(groups[values].values()), columns),
            runs=tuple(members[values]),
        )
        for values in sorted(groups, key=_natural)
    ]


def _row(
    phase: str,
    keys: Sequence[str],
    values: Sequence[str | None],
    results: Sequence[_Result],
    columns: Sequence[Column],
) -> Row:
    label = LABELS.get(phase, phase)
    if chosen := [f"{k}={v}" for k, v in zip(keys, values, strict=True) if v is not None]:
        label += f" ({', '.join(chosen)})"
    estimates = tuple(_estimate([r.cells for r in results], column) for column in columns)
    return Row(label=label, num_seeds=len(results), estimates=estimates, phase=phase)


def _estimate(cells: Sequence[Mapping[str, Cell]], column: Column) -> Estimate | None:
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
    """Two results that agree in the keys, and not in the numbers."""
    first: dict[tuple[str | None, ...], _Result] = {}
    for result in results:
        other = first.setdefault(_values(result, keys), result)
        # As text, because NaN is not equal to itself.
        if repr(other.cells) != repr(result.cells):
            return other, result
    return None


def _values(result: _Result, keys: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(result.settings.get(key) for key in keys)


def _natural(values: Iterable[str | None]) -> tuple[tuple[int, str], ...]:
    return tuple((ORDER.get(v or "", len(ORDER)), v or "") for v in values)


def _shown(estimate: Estimate | None) -> float | None:
    """The value to the digit that is printed: what looks equal is equally good."""
    return None if estimate is None else round(estimate.mean, 1)


def _note(rows: Sequence[Row], *, has_best: bool) -> str:
    estimates = [e for row in rows for e in row.estimates if e is not None and e.has_interval]
    percent = f"{100 * CONFIDENCE:.0f} %"
    parts = []
    if any(e.num_seeds > 1 for e in estimates):
        parts.append(f"±: {percent} confidence interval over seeds (Student's t).")
    if any(e.num_seeds == 1 for e in estimates):
        parts.append(f"[low, high]: one result; {percent} bootstrap interval over scenes.")
    if has_best:
        parts.append("Bold: the highest value of its column, which is not a test of significance.")
    return " ".join(parts)
