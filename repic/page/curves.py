"""Charts from what runs have logged and scored: learning curves, accuracy by number of concepts."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from repic.page.charts import Chart, Line, smooth
from repic.tables.ablation import Configuration, ablation
from repic.tables.columns import count_columns
from repic.tables.runs import MetricRow, Run, read_metrics

SHORT = {"base": "base model", "model": "model", "sft": "SFT", "grpo": "RL"}

SHARE = "grpo/advantage_share/"  # logged of components with a weight alone

# Title, and which keys are its lines; a line is called by what the pattern's group holds.
CURVES = (
    ("Reward", re.compile(r"grpo/reward/(.+)")),
    ("Recognition accuracy (%) on validation", re.compile(r"val/(\d)/accuracy")),
    ("CIDEr on validation", re.compile(r"val/(\d)/cider")),
    ("KL to the reference", re.compile(r"grpo/(kl)")),
    ("Caption length, tokens", re.compile(r"grpo/(length)")),
    ("Entropy, nats per token", re.compile(r"grpo/(entropy)")),
    ("Share of clipped tokens", re.compile(r"grpo/(clip_frac)")),
    ("SFT loss", re.compile(r"sft/(loss)")),
    ("Loss of the vision tower, a square", re.compile(r"pretrain_vision/(loss)")),
    ("Pre-training loss", re.compile(r"pretrain/(loss)")),
)

RETRIEVER, SKIP = "name_everybody", "skip"  # the retriever's own score; the option without one

# key -> iteration -> value
Series = Mapping[str, Mapping[float, float]]


def learning_curves(rows: Sequence[MetricRow]) -> list[Chart]:
    """The charts that the logged keys give; those of which little was logged are left out.

    Each phase has its own, since it counts its iterations anew.
    """
    phases = dict.fromkeys(row.phase for row in rows)
    return _charts({phase: {"": _series(rows, phase)} for phase in phases}, {})


def compared_curves(runs: Sequence[Run]) -> list[Chart]:
    """Learning curves of several runs: means over seeds, a line a configuration.

    A phase that only one configuration has is drawn as in ``learning_curves``.
    """
    logged = {run.folder: read_metrics(run.folder) for run in runs}
    rows = _drawn(ablation(runs).rows)
    phases: dict[str, dict[str, Series]] = {}
    for row in rows:
        found = [_series(logged[run.folder], row.phase) for run in row.runs.values()]
        if mean := _mean_series(found):
            phases.setdefault(row.phase, {})[row.label] = mean
    return _charts(phases, {row.label: style for style, row in enumerate(rows)})


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
    lines = [_accuracy_line(row, counts) for row in _drawn(ablation(runs, columns).rows)]
    if retrieving := [run for run in runs if run.choices.get("retrieval", SKIP) != SKIP]:
        # By themselves: naming everybody without a retriever is another thing.
        rows = ablation(retrieving, columns).rows
        lines += [_accuracy_line(row, counts) for row in rows if row.phase == RETRIEVER]
    title = "Recognition accuracy (%) by number of concepts"
    return Chart(title, "concepts", tuple(lines), tuple(counts)) if lines else None


def concepts(count: int) -> str:
    """Count concepts in words.

    Example:
        >>> concepts(1), concepts(3)
        ('1 concept', '3 concepts')
    """
    return f"{count} concept{'' if count == 1 else 's'}"


def _drawn(rows: Sequence[Configuration]) -> list[Configuration]:
    """The rows that are models; their places are their styles in every chart of a page."""
    return [row for row in rows if row.phase != RETRIEVER]


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
        key: {iteration: _mean(points[iteration]) for iteration in sorted(points)}
        for key, points in values.items()
    }


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _charts(phases: Mapping[str, Mapping[str, Series]], styles: Mapping[str, int]) -> list[Chart]:
    """Every chart of every phase: phase -> configuration -> series."""
    charts = []
    for title, pattern in CURVES:
        for phase, configurations in phases.items():
            found = {name: _lines(pattern, s) for name, s in configurations.items()}
            if len(found) == 1:
                charts.append(_chart(title, pattern, phase, *found.values()))
            else:
                charts += _compared(title, pattern, phase, found, styles)
    return [chart for chart in charts if any(len(line.xs) > 1 for line in chart.lines)]


def _lines(pattern: re.Pattern[str], series: Series) -> list[Line]:
    """The lines of one configuration, the total first."""
    found = [(m[1], series[key]) for key in series if (m := pattern.fullmatch(key))]
    shares = {key.removeprefix(SHARE) for key in series if key.startswith(SHARE)}
    if pattern.pattern.startswith("grpo/reward") and shares:
        # What is only measured (a length in characters) has other units than what is trained on.
        found = [(label, s) for label, s in found if label in shares or label == "total"]
    found.sort(key=lambda pair: (pair[0] != "total", pair[0]))
    lines = [smooth(Line(label, list(s), list(s.values()))) for label, s in found]
    if pattern.pattern.startswith("val/"):
        lines = [replace(line, label=concepts(int(line.label))) for line in lines]
    return lines


def _chart(title: str, pattern: re.Pattern[str], phase: str, lines: Sequence[Line]) -> Chart:
    if pattern.pattern.startswith("val/"):  # several phases have these
        title = f"{title}, {SHORT.get(phase, phase)}"
    return Chart(title, "iteration", tuple(lines))


def _compared(
    title: str,
    pattern: re.Pattern[str],
    phase: str,
    found: Mapping[str, Sequence[Line]],
    styles: Mapping[str, int],
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
        charts.append(_chart(what, pattern, phase, lines))
    return charts
