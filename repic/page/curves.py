"""Charts from what runs have logged and scored: learning curves, accuracy by number of concepts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import regex

from repic.page.charts import Chart, Line, mean, smooth
from repic.tables.ablation import Configuration, ablation, author_of, is_retrieving
from repic.tables.columns import count_columns
from repic.tables.runs import Curve, MetricRow, Run, read_metrics
from repic.words import counted

TOTAL = "total"  # the line that is drawn first
SECONDS = 1.0  # for a pattern and a key

# key -> iteration -> value
Series = Mapping[str, Mapping[float, float]]


def learning_curves(run: Run, rows: Sequence[MetricRow]) -> list[Chart]:
    """The charts that a run's phases declare; those of which little was logged are left out.

    Each phase has its own, since it counts its iterations anew.
    """
    phases = dict.fromkeys(row.phase for row in rows)
    return _charts([run], {phase: {"": _series(rows, phase)} for phase in phases})


def compared_curves(runs: Sequence[Run]) -> list[Chart]:
    """Learning curves of several runs: means over seeds, a line a configuration.

    A phase that only one configuration has is drawn as in ``learning_curves``.
    """
    logged = {run.folder: read_metrics(run.folder) for run in runs}
    rows = _models(runs, ablation(runs).rows)
    phases: dict[str, dict[str, Series]] = {}
    for row in rows:
        found = [_series(logged[run.folder], row.phase) for run in row.runs.values()]
        if series := _mean_series(found):
            phases.setdefault(row.phase, {})[row.label] = series
    return _charts(runs, phases, {row.label: style for style, row in enumerate(rows)})


def accuracy_chart(runs: Sequence[Run]) -> Chart | None:
    """Recognition accuracy against the number of concepts, with intervals; a line a method.

    Of runs with a retriever, naming everybody whom it brought is how good a model can be that
    trusts it; without one, naming everybody is wrong by design and not drawn.

    Returns:
        The chart; None if fewer than two numbers of concepts were evaluated.
    """
    columns = count_columns(runs, "accuracy", "acc")
    if len(columns) < 2:
        return None
    counts = [float(column.count) for column in columns]
    rows = _models(runs, ablation(runs, columns).rows)
    if retrieving := [run for run in runs if is_retrieving(run)]:
        # By themselves: naming everybody without a retriever is another thing.
        others = ablation(retrieving, columns).rows
        rows += [row for row in others if not author_of(runs, row.phase).has_model]
    lines = [_accuracy_line(row, counts) for row in rows]
    title = "Recognition accuracy (%) by number of concepts"
    return Chart(title, "concepts", tuple(lines), tuple(counts)) if lines else None


def _models(runs: Sequence[Run], rows: Sequence[Configuration]) -> list[Configuration]:
    """The rows that are models; their places are their styles in every chart of a page."""
    return [row for row in rows if author_of(runs, row.phase).has_model]


def _accuracy_line(row: Configuration, counts: Sequence[float]) -> Line:
    """Intervals end at 0 and 100 %, whatever Student's t of two seeds says."""
    cells = row.cells
    return Line(
        row.label,
        counts,
        [math.nan if e is None else e.mean for e in cells],
        [math.nan if e is None else max(e.low, 0.0) for e in cells],
        [math.nan if e is None else min(e.high, 100.0) for e in cells],
    )


def _series(rows: Iterable[MetricRow], phase: str) -> Series:
    series: dict[str, dict[float, float]] = {}
    for row in rows:
        if row.phase == phase:
            for key, value in row.values.items():
                series.setdefault(key, {})[float(row.iteration)] = value
    return series


def _mean_series(found: Sequence[Series]) -> Series:
    """Means over those that have a value at an iteration."""
    values: dict[str, dict[float, list[float]]] = {}
    for series in found:
        for key, points in series.items():
            for iteration, value in points.items():
                values.setdefault(key, {}).setdefault(iteration, []).append(value)
    return {
        key: {iteration: mean(points[iteration]) for iteration in sorted(points)}
        for key, points in values.items()
    }


def _charts(
    runs: Sequence[Run],
    logged: Mapping[str, Mapping[str, Series]],
    styles: Mapping[str, int] | None = None,
) -> list[Chart]:
    """Every chart of every phase, those of the last first.

    Args:
        runs: whose phases say what to draw.
        logged: phase -> configuration -> series.
        styles: of the configurations' lines.
    """
    phases = {phase.phase: phase for run in runs for phase in run.phases}
    titles = [curve.title for phase in phases.values() for curve in phase.curves]
    charts = []
    for phase in reversed(phases.values()):
        for curve in phase.curves if phase.phase in logged else ():
            # Several phases may validate.
            of = f", {phase.short}" if titles.count(curve.title) > 1 else ""
            found = {name: _lines(curve, s) for name, s in logged[phase.phase].items()}
            if len(found) == 1:
                (lines,) = found.values()
                charts.append(Chart(f"{curve.title}{of}", "iteration", tuple(lines)))
            else:
                charts += _compared(curve.title, of, found, styles or {})
    return [chart for chart in charts if any(len(line.xs) > 1 for line in chart.lines)]


def _lines(curve: Curve, series: Series) -> list[Line]:
    """The lines of one configuration, the total first."""
    pattern = regex.compile(curve.keys)
    try:
        matches = {key: pattern.fullmatch(key, timeout=SECONDS) for key in series}
    except TimeoutError:
        raise ValueError(f"curve {curve.title}: {curve.keys} takes too long to match") from None
    found = {match[1]: key for key, match in matches.items() if match and match[1]}
    among = {key.removeprefix(curve.among) for key in series if key.startswith(curve.among)}
    if curve.among and among:
        found = {name: key for name, key in found.items() if name in {TOTAL, *among}}
    names = sorted(found, key=lambda name: (name != TOTAL, name))
    lines = []
    for name in names:
        points = series[found[name]]
        label = counted(int(name), "concept") if name.isdecimal() else name
        lines.append(smooth(Line(label, list(points), list(points.values()))))
    return lines


def _compared(
    title: str, of: str, found: Mapping[str, Sequence[Line]], styles: Mapping[str, int]
) -> list[Chart]:
    """One chart for each key, since lines are configurations."""
    labels = dict.fromkeys(line.label for lines in found.values() for line in lines)
    charts = []
    for label in labels:
        lines = [
            replace(line, label=name, style=styles[name])
            for name, drawn in found.items()
            for line in drawn
            if line.label == label
        ]
        what = f"{title}: {label}" if len(labels) > 1 else title
        charts.append(Chart(f"{what}{of}", "iteration", tuple(lines)))
    return charts
