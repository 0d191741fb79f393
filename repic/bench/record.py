"""Where measurements are kept: a CSV file that grows step by step, and charts of a sweep."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from markupsafe import Markup

from repic.bench.figures import Step, median_ratio, summary_of
from repic.files import write_text
from repic.page.charts import HEIGHT, NUM_STYLES, WIDTH, Chart, Line

# The page's, for a file of its own.
_COLOURS = ("#0072b2", "#d55e00", "#00896a", "#b0558c", "#8a6d00", "#4b4e57")
_DASHES = ("none", "7 4", "2 4", "9 3 2 3", "12 4", "4 2")
_HEAD = 26.0  # above the chart, for title and legend


def append_step(path: Path, step: Step) -> None:
    """Add a row, under a header where the file is new."""
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Step)])
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(step))


def cost_chart(steps: Sequence[Step], label: str) -> Chart:
    """Processor seconds of a step against the swept value, a line for each contender."""
    names = dict.fromkeys(step.contender for step in steps)
    lines = [_line(n, steps, lambda s, n=n: summary_of(s, n, "cpu_s").median) for n in names]
    return Chart("CPU seconds a step", label, tuple(lines))


def update_chart(steps: Sequence[Step], label: str, limits: Mapping[str, float]) -> Chart:
    """How many times faster updates are than the first contender's, and how many they could be.

    Args:
        steps: of all values.
        label: what the values are.
        limits: of the token count, by value.
    """
    first, *others = dict.fromkeys(step.contender for step in steps)
    lines = [
        _line(n, steps, lambda s, n=n: median_ratio(s, first, n, "update_cpu_s")) for n in others
    ]
    limit = _line("limit", steps, lambda s: limits[s[0].value])
    return Chart(f"{first}'s update ÷ that of", label, (*lines, limit))


def write_chart(path: Path, chart: Chart) -> None:
    """Write a chart as a file that a browser shows, with its colours, title and legend."""
    svg = str(chart.svg())
    if not svg:
        return
    inside = svg[svg.index(">") + 1 :]
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="{}">').format(
        f"0 {-_HEAD} {WIDTH} {HEIGHT + _HEAD}"
    )
    marks = Markup("").join(
        Markup('<tspan dx="10" style="fill:{}">{}</tspan>').format(_COLOURS[i % NUM_STYLES], text)
        for i, text in enumerate(line.label for line in chart.lines)
    )
    title = Markup('<text x="8" y="-10">{}{}</text>').format(chart.title, marks)
    write_text(path, f"{head}<style>{_style()}</style>{title}{inside}\n")


def _style() -> str:
    lines = "".join(
        f".s{i}{{stroke:{_COLOURS[i]};stroke-dasharray:{_DASHES[i]}}}" for i in range(NUM_STYLES)
    )
    return (
        ".chart{background:#fff;font:11px sans-serif}text{fill:#62646c}tspan{font-weight:bold}"
        f".grid{{stroke:#e4e1db}}.line{{fill:none;stroke-width:2}}{lines}"
    )


def _line(label: str, steps: Sequence[Step], value: Callable[[list[Step]], float]) -> Line:
    """One number for each swept value."""
    by_value: dict[str, list[Step]] = {}
    for step in steps:
        by_value.setdefault(step.value, []).append(step)
    xs = [float(x) for x in by_value]
    return Line(label, xs, [value(there) for there in by_value.values()])
