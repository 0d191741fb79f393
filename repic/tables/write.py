"""A table as Markdown, CSV, LaTeX, or for the terminal."""

import csv
import io
import math
import os
from collections.abc import Callable
from pathlib import Path

import rich.box
import rich.console
import rich.table
from rich.text import Text

from repic.tables.estimates import Estimate
from repic.tables.table import Table

ABSENT = "–"


def cell_text(estimate: Estimate | None, digits: int = 1) -> str:
    """Write an estimate; a difference with its sign and p-value.

    Example:
        >>> cell_text(Estimate(65.84, 63.7, 67.98, num_seeds=3))
        '65.8 ± 2.1'
        >>> cell_text(Estimate(65.84, 61.2, 70.4, num_seeds=1))
        '65.8 [61.2, 70.4]'
        >>> cell_text(Estimate(3.24, 0.9, 5.6, num_seeds=1, p_value=0.0071))
        '+3.2 [+0.9, +5.6], p = 0.007'
    """
    if estimate is None:
        return ABSENT
    form = _form(estimate, digits)
    text = f"{estimate.mean:{form}}"
    if estimate.has_interval:
        # Of a difference the ends tell more than the half width: is 0 between them?
        is_short = estimate.num_seeds > 1 and estimate.p_value is None
        ends = f"[{estimate.low:{form}}, {estimate.high:{form}}]"
        text += f" ± {estimate.half_width:.{digits}f}" if is_short else f" {ends}"
    return f"{text}, {p_text(estimate.p_value)}" if _has_p(estimate) else text


def p_text(p_value: float | None) -> str:
    """Write a p-value.

    Example:
        >>> p_text(0.0312), p_text(0.0002)
        ('p = 0.031', 'p < 0.001')
    """
    if p_value is None or math.isnan(p_value):
        return ABSENT
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _has_p(estimate: Estimate) -> bool:
    return estimate.p_value is not None and not math.isnan(estimate.p_value)


def _form(estimate: Estimate, digits: int) -> str:
    return f".{digits}f" if estimate.p_value is None else f"+.{digits}f"


def markdown(table: Table) -> str:
    """A pipe table with its title above and its note below."""
    header = ["configuration", "seeds", *(column.label for column in table.columns)]
    lines = [_pipes(header), _pipes([":--", "--:", *("--:" for _ in table.columns)])]
    for label, seeds, cells in _rows(table, bold=lambda text: f"**{text}**"):
        lines.append(_pipes([label.replace("|", r"\|"), seeds, *cells]))
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n\n{table.note}\n"


def csv_text(table: Table) -> str:
    """For programs: mean, low and high of every column, with six digits; empty where absent."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    estimates = [e for row in table.rows for e in row.estimates]
    has_p = any(e is not None and e.p_value is not None for e in estimates)
    kinds = ("", "_low", "_high", "_p") if has_p else ("", "_low", "_high")
    ends = [f"{c.label}{end}" for c in table.columns for end in kinds]
    writer.writerow(["configuration", "seeds", *ends])
    for row in table.rows:
        numbers: list[str] = []
        for estimate in row.estimates:
            numbers += _numbers(estimate)[: len(kinds)]
        writer.writerow([row.label, row.num_seeds, *numbers])
    return out.getvalue()


def _numbers(estimate: Estimate | None) -> list[str]:
    """Mean, low, high and p-value; empty where there is none."""
    if estimate is None:
        return [""] * 4
    values = (estimate.mean, estimate.low, estimate.high, estimate.p_value)
    texts = ["" if v is None or math.isnan(v) else f"{v:.6g}" for v in values]
    return texts if estimate.has_interval else [texts[0], "", "", texts[3]]


def latex(table: Table) -> str:
    r"""A booktabs table, ready for ``\input``; needs ``\usepackage{booktabs}``."""
    header = ["configuration", "seeds", *(column.label for column in table.columns)]
    lines = [
        r"\begin{table}[t]",
        r"  \centering",
        rf"  \caption{{{_escape(table.title)}. {_escape(table.note)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(map(_escape, header))} \\\\",
        r"    \midrule",
    ]
    for label, seeds, cells in _rows(
        table, bold=lambda text: rf"\textbf{{{text}}}", escape=_escape
    ):
        lines.append(f"    {' & '.join([_escape(label), seeds, *cells])} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def framed(title: str, note: str, *, leading: int = 0) -> rich.table.Table:
    """An empty table in the terminal's style, with a title above and a note below.

    Args:
        leading: blank lines between rows.
    """
    return rich.table.Table(
        title=Text(title),
        caption=Text(note, "dim"),
        caption_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        leading=leading,
    )


def terminal(table: Table) -> rich.console.Group:
    """For ``rich.console.Console().print``; the best of a column is bold and starred.

    Intervals stand under their values, so that six columns fit into 80 characters. Title and note
    may be wider than a narrow table.
    """
    out = rich.table.Table(
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        leading=1,
    )
    out.add_column(table.row_title, min_width=16, overflow="fold")
    for column in table.columns:
        # Of many columns the header's words stand below each other.
        label = column.label.replace(" ", "\n") if len(table.columns) > 5 else column.label
        out.add_column(label, justify="right")
    for i, row in enumerate(table.rows):
        if i and row.block != table.rows[i - 1].block:
            out.add_section()
        cells = [
            _terminal_cell(estimate, table.columns[j].digits, is_best=table.is_best(i, j))
            for j, estimate in enumerate(row.estimates)
        ]
        seeds = f"\n{row.num_seeds} seeds" if row.num_seeds > 1 else ""
        label = row.label.replace(" (", "\n(")
        out.add_row(Text(label).append(seeds, "dim"), *cells)
    note = Text(table.note.replace("Bold", "Bold, *") + "\n", "dim")
    return rich.console.Group(Text(table.title, "italic"), out, note)


def _terminal_cell(estimate: Estimate | None, digits: int, *, is_best: bool) -> Text:
    if estimate is None:
        return Text(ABSENT)
    value = f"{estimate.mean:{_form(estimate, digits)}}{'*' * is_best}"
    cell = Text(value, "bold green" if is_best else "")
    if estimate.has_interval:
        cell.append(f"\n{_interval(estimate, digits)}", "dim not bold")
    if _has_p(estimate):
        cell.append(f"\n{p_text(estimate.p_value).replace(' ', '')}", "dim not bold")
    return cell


def _interval(estimate: Estimate, digits: int) -> str:
    """As short as can be: one digit less than the value, and one end if both look the same."""
    fewer = max(digits - 1, 0)
    if estimate.p_value is not None:
        return f"[{estimate.low:+.{digits}f},\n{estimate.high:+.{digits}f}]"
    if estimate.num_seeds > 1:
        return f"± {estimate.half_width:.{digits}f}"
    low, high = f"{estimate.low:.{fewer}f}", f"{estimate.high:.{fewer}f}"
    return f"[{low}]" if low == high else f"[{low}–{high}]"


def write_tables(folder: Path, stem: str, table: Table) -> list[Path]:
    """Write ``<stem>.md``, ``.csv`` and ``.tex`` into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    writers = {".md": markdown, ".csv": csv_text, ".tex": latex}
    paths = []
    for suffix, write in writers.items():
        paths.append(folder / f"{stem}{suffix}")
        write_text(paths[-1], write(table))
    return paths


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a full disk leaves the former one as it was."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _rows(
    table: Table, *, bold: Callable[[str], str], escape: Callable[[str], str] = str
) -> list[tuple[str, str, list[str]]]:
    return [
        (
            row.label,
            str(row.num_seeds),
            [
                (bold if table.is_best(i, j) else str)(escape(cell_text(e, column.digits)))
                for j, (e, column) in enumerate(zip(row.estimates, table.columns, strict=True))
            ],
        )
        for i, row in enumerate(table.rows)
    ]


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in text)
