"""Where measurements are kept: a CSV file that grows step by step, and charts of a sweep."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from repic.bench.figures import Step, median_ratio, summary_of
from repic.page.charts import Chart, Line


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


def _line(label: str, steps: Sequence[Step], value: Callable[[list[Step]], float]) -> Line:
    """One number for each swept value."""
    by_value: dict[str, list[Step]] = {}
    for step in steps:
        by_value.setdefault(step.value, []).append(step)
    xs = [float(x) for x in by_value]
    return Line(label, xs, [value(there) for there in by_value.values()])
