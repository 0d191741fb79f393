"""The bench's result for the terminal."""

import math
from collections.abc import Sequence

import rich.box
import rich.table
from rich.text import Text

from repic.bench.contenders import PEER
from repic.bench.figures import Step, Summary, median_ratio, summary_of


def cost_table(title: str, steps: Sequence[Step]) -> rich.table.Table:
    """What a step takes: medians, with least and greatest below them.

    Args:
        title: of the table.
        steps: of one value of the swept key; the first contender is what others are compared with.
    """
    names = list(dict.fromkeys(step.contender for step in steps))
    load = max(step.load for step in steps)
    table = _table(
        title, f"Median [least–greatest]; highest load average of the machine {load:.1f}."
    )
    columns = ("steps", "CPU s", "wall s", "peak MiB")
    for column in (*columns, f"CPU\n÷ {names[0]}", f"wall\n÷ {names[0]}"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        count = sum(step.contender == name and step.round > 0 for step in steps)
        times = [_cell(summary_of(steps, name, quantity)) for quantity in ("cpu_s", "wall_s")]
        peak = _number(summary_of(steps, name, "peak_mib").high)
        ratios = [median_ratio(steps, name, names[0], key) for key in ("cpu_s", "wall_s")]
        table.add_row(name, str(count), *times, peak, *map(_number, ratios))
    return table


def parts_table(steps: Sequence[Step], limit: float) -> rich.table.Table:
    """Rollout and update by themselves, and how near the update comes to the limit.

    Args:
        steps: see ``cost_table``.
        limit: see ``repic.bench.figures.token_limit``.
    """
    names = list(dict.fromkeys(step.contender for step in steps))
    note = f"Sharing each prompt makes the update's tokens {limit:.2f} times fewer."
    table = _table("its parts, CPU s", note)
    for column in ("rollout", "update", f"{names[0]}'s\n÷ update", "share\nof limit"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        cells = [_cell(summary_of(steps, name, f"{part}_cpu_s")) for part in ("rollout", "update")]
        gain = median_ratio(steps, names[0], name, "update_cpu_s")
        is_compared = name not in (names[0], PEER) and not math.isnan(gain)
        reached = f"{100 * gain / limit:.0f} %" if is_compared else ""
        table.add_row(name, *cells, _number(gain), reached)
    return table


def _table(title: str, note: str) -> rich.table.Table:
    table = rich.table.Table(
        title=Text(title),
        caption=Text(note, "dim"),
        caption_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("contender")
    return table


def _cell(summary: Summary) -> Text:
    if math.isnan(summary.median):
        return Text("–")
    spread = f"\n[{_number(summary.low)}–{_number(summary.high)}]"
    return Text(_number(summary.median)).append(spread, "dim")


def _number(value: float) -> str:
    """Three digits, and no fraction from a hundred on.

    Example:
        >>> [_number(x) for x in (0.0123, 1.234, 56.78, 1234.5)]
        ['0.012', '1.23', '56.8', '1234']
    """
    if math.isnan(value):
        return "–"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"
