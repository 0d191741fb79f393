"""The bench's results: tables of one value of the swept key, charts of all."""

import math
from collections.abc import Callable, Mapping, Sequence

from repic.bench.contenders import PEER
from repic.bench.figures import Step, Summary, median_ratio, summary_of
from repic.models.memory import StepPlan
from repic.page.charts import Chart, Line
from repic.tables.estimates import Estimate
from repic.tables.table import Column, Row, Table

CONTENDER = Column("contender", kind="text")


def cost_table(title: str, steps: Sequence[Step]) -> Table:
    """What a step takes: medians, with least and greatest.

    Args:
        title: of the table.
        steps: of one value of the swept key; the first contender is what others are compared with.
    """
    names = list(dict.fromkeys(step.contender for step in steps))
    rows = []
    for name in names:
        count = sum(step.contender == name and step.round > 0 for step in steps)
        times = [_estimate(summary_of(steps, name, quantity)) for quantity in ("cpu_s", "wall_s")]
        peak = summary_of(steps, name, "peak_mib").high
        ratios = [median_ratio(steps, name, names[0], key) for key in ("cpu_s", "wall_s")]
        rows.append(Row(name, (count, *times, peak, *ratios)))
    columns = (
        Column("steps", kind="number"),
        Column("CPU s", digits=None),
        Column("wall s", digits=None),
        Column("peak MiB", kind="number", digits=None),
        Column(f"CPU ÷ {names[0]}", kind="number", digits=None),
        Column(f"wall ÷ {names[0]}", kind="number", digits=None),
    )
    load = max(step.load for step in steps)
    note = f"Median [least–greatest]; highest load average of the machine {load:.1f}."
    return Table(title, columns, rows, note, row_column=CONTENDER)


def parts_table(steps: Sequence[Step], limit: float) -> Table:
    """Rollout and update by themselves, and how near the update comes to the limit.

    Args:
        steps: see ``cost_table``.
        limit: see ``repic.bench.figures.token_limit``.
    """
    names = list(dict.fromkeys(step.contender for step in steps))
    rows = []
    for name in names:
        parts = [summary_of(steps, name, f"{part}_cpu_s") for part in ("rollout", "update")]
        gain = median_ratio(steps, names[0], name, "update_cpu_s")
        is_compared = name not in (names[0], PEER) and not math.isnan(gain)
        reached = f"{100 * gain / limit:.0f} %" if is_compared else ""
        rows.append(Row(name, (*map(_estimate, parts), gain, reached)))
    columns = (
        Column("rollout", digits=None),
        Column("update", digits=None),
        Column(f"{names[0]}'s ÷ update", kind="number", digits=None),
        Column("share of limit", kind="number"),
    )
    note = f"Sharing each prompt makes the update's tokens {limit:.2f} times fewer."
    return Table("its parts, CPU s", columns, rows, note, row_column=CONTENDER)


def costs_on_paper(rows: Sequence[Mapping[str, str | float]]) -> Table:
    """Costs on paper; see ``repic.bench.paper``."""
    first, *others = rows[0]
    columns = [
        Column(name, kind="text" if isinstance(rows[0][name], str) else "number", digits=None)
        for name in others
    ]
    cells = [Row(str(row[first]), tuple(row[name] for name in others)) for row in rows]
    return Table("The papers' settings", columns, cells, row_column=Column(first, kind="text"))


def full_size(rows: Sequence[Mapping[str, str | float]], model: str, plan: StepPlan) -> Table:
    """What one update was counted to take; see ``repic.bench.full``."""
    columns = [Column(name, kind="number", digits=None) for name in ("counted", "arithmetic")]
    cells = [Row(str(row["part"]), (row["counted"], row["arithmetic"])) for row in rows]
    title = (
        f"{model}: one update of {plan.prompts} × {plan.group_size} captions of"
        f" {plan.caption_tokens} tokens behind {plan.prompt_tokens}; 10¹² operations, and GiB"
    )
    return Table(title, columns, cells, row_column=Column("part", kind="text"))


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


def _estimate(summary: Summary) -> Estimate:
    return Estimate(summary.median, summary.low, summary.high, num_seeds=1)


def _line(label: str, steps: Sequence[Step], value: Callable[[list[Step]], float]) -> Line:
    """One number for each swept value."""
    by_value: dict[str, list[Step]] = {}
    for step in steps:
        by_value.setdefault(step.value, []).append(step)
    xs = [float(x) for x in by_value]
    return Line(label, xs, [value(there) for there in by_value.values()])
