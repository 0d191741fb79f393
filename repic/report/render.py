"""A table as Markdown, CSV, LaTeX, or for the terminal."""

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import rich.box
import rich.table
from rich.text import Text

from repic.report.estimates import Estimate
from repic.report.tables import Table

ABSENT = "–"


def cell_text(estimate: Estimate | None) -> str:
    """Write an estimate with one decimal.

    Example:
        >>> cell_text(Estimate(65.84, 63.7, 67.98, num_seeds=3))
        '65.8 ± 2.1'
        >>> cell_text(Estimate(65.84, 61.2, 70.4, num_seeds=1))
        '65.8 [61.2, 70.4]'
    """
    if estimate is None:
        return ABSENT
    if not estimate.has_interval:
        return f"{estimate.mean:.1f}"
    if estimate.num_seeds == 1:
        return f"{estimate.mean:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"
    return f"{estimate.mean:.1f} ± {estimate.half_width:.1f}"


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
    ends = [f"{c.label}{end}" for c in table.columns for end in ("", "_low", "_high")]
    writer.writerow(["configuration", "seeds", *ends])
    for row in table.rows:
        numbers: list[str] = []
        for estimate in row.estimates:
            if estimate is None:
                numbers += ["", "", ""]
            else:
                ends = (estimate.low, estimate.high) if estimate.has_interval else ()
                numbers += [f"{value:.6g}" for value in (estimate.mean, *ends)]
                numbers += [""] * (2 - len(ends))
        writer.writerow([row.label, row.num_seeds, *numbers])
    return out.getvalue()


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


def terminal(table: Table) -> rich.table.Table:
    """For ``rich.console.Console().print``; the best of a column is bold and starred.

    Intervals stand under their values, so that six columns fit into 80 characters.
    """
    out = rich.table.Table(
        title=Text(table.title),
        caption=Text(table.note.replace("Bold", "Bold, *"), "dim"),
        caption_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        leading=1,
    )
    out.add_column(table.row_title, min_width=16, overflow="fold")
    for column in table.columns:
        out.add_column(column.label, justify="right")
    for i, row in enumerate(table.rows):
        cells = [
            _terminal_cell(estimate, is_best=table.is_best(i, j))
            for j, estimate in enumerate(row.estimates)
        ]
        seeds = f"\n{row.num_seeds} seeds" if row.num_seeds > 1 else ""
        label = row.label.replace(" (", "\n(")
        out.add_row(Text(label).append(seeds, "dim"), *cells)
    return out


def _terminal_cell(estimate: Estimate | None, *, is_best: bool) -> Text:
    if estimate is None:
        return Text(ABSENT)
    cell = Text(f"{estimate.mean:.1f}{'*' * is_best}", "bold green" if is_best else "")
    if not estimate.has_interval:
        return cell
    if estimate.num_seeds > 1:
        return cell.append(f"\n± {estimate.half_width:.1f}", "dim not bold")
    return cell.append(f"\n[{estimate.low:.0f}–{estimate.high:.0f}]", "dim not bold")


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
                bold(escape(cell_text(e))) if table.is_best(i, j) else escape(cell_text(e))
                for j, e in enumerate(row.estimates)
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
