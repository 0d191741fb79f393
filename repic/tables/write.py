"""A table in every form: for the terminal, as Markdown, CSV, LaTeX and JSON."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table
from rich.text import Text

from repic.files import write_text
from repic.tables.estimates import Estimate
from repic.tables.table import Cell, Column, Row, Table

ABSENT = "–"
WIDE = 2  # with more columns than this, the terminal has intervals under their values


def cell_text(cell: Cell, digits: int | None = 1) -> str:
    """Write a cell; a difference with its sign and p-value.

    Example:
        >>> cell_text(Estimate(65.84, 63.7, 67.98, num_seeds=3))
        '65.8 ± 2.1'
        >>> cell_text(Estimate(65.84, 61.2, 70.4, num_seeds=1))
        '65.8 [61.2, 70.4]'
        >>> cell_text(Estimate(3.24, 0.9, 5.6, num_seeds=1, p_value=0.0071))
        '+3.2 [+0.9, +5.6], p = 0.007'
        >>> cell_text(0.031, digits=3), cell_text(0.0002, digits=3), cell_text(12)
        ('0.031', '<0.001', '12')
    """
    if not isinstance(cell, Estimate):
        return _bare_text(cell, digits)
    if math.isnan(cell.mean):
        return ABSENT
    text = _number(cell, cell.mean, digits)
    if cell.has_interval:
        # Of a difference the ends tell more than the half width: is 0 between them?
        is_short = cell.num_seeds > 1 and cell.p_value is None
        ends = ", ".join(_number(cell, end, digits) for end in (cell.low, cell.high))
        text += f" ± {_digits(cell.half_width, digits)}" if is_short else f" [{ends}]"
    return f"{text}, {p_text(cell.p_value)}" if _has_p(cell) else text


def p_text(p_value: float | None) -> str:
    """Write a p-value.

    Example:
        >>> p_text(0.0312), p_text(0.0002)
        ('p = 0.031', 'p < 0.001')
    """
    if p_value is None or math.isnan(p_value):
        return ABSENT
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def print_tables(*tables: Table) -> None:
    """Show tables in the terminal."""
    console = rich.console.Console()
    for table in tables:
        console.print(terminal(table))
        for sentence, items in table.lists:  # which may hold paths to copy
            console.print(
                sentence, *items, sep="\n  ", markup=False, highlight=False, soft_wrap=True
            )


def terminal(table: Table) -> rich.console.Group:
    """A table without its lists for rich; the best of a column is bold and starred.

    Of more than two columns the intervals stand under their values, so that six columns fit into
    80 characters. Title and note may be wider than a narrow table.
    """
    columns = [column for column in table.columns if not column.is_for_programs]
    rows = [_terminal_row(table, row, is_wide=len(columns) <= WIDE) for row in table.rows]
    is_tall = any("\n" in cell.plain for cells in rows for cell in cells)
    out = rich.table.Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), leading=int(is_tall))
    out.add_column(table.row_column.label, min_width=16, overflow="fold")
    for column in columns:
        # Of many columns the header's words stand below each other.
        label = column.label.replace(" ", "\n") if len(columns) > 5 else column.label
        is_text = column.kind == "text"
        out.add_column(label, justify="left" if is_text else "right", no_wrap=len(columns) <= WIDE)
    before = None
    for row, (label, *cells) in zip(table.rows, rows, strict=True):
        if before and row.block != before.block:
            out.add_section()
        if before and row.label == before.label:  # what it has beside its label tells it apart
            label = label[len(_broken(row.label)) + 1 :]
        out.add_row(label, *cells)
        before = row
    parts = [Text(table.title, "italic"), out]
    if table.note:
        parts.append(Text(table.note.replace("Bold", "Bold, *") + "\n", "dim"))
    return rich.console.Group(*parts)


def markdown(table: Table) -> str:
    """A pipe table with its title above and its note below."""
    columns = _columns(table)
    sides = [":--" if column.kind == "text" else "--:" for column in columns]
    lines = [_pipes([column.label for column in columns]), _pipes(sides)]
    lines += [_pipes(cells) for cells in _text_rows(table, bold="**{}**".format)]
    text = f"**{table.title}**\n\n" + "\n".join(lines) + "\n"
    text += f"\n{table.note}\n" if table.note else ""
    for sentence, items in table.lists:
        text += f"\n{sentence}\n" + "".join(f"- {item}\n" for item in items)
    return text


def latex(table: Table) -> str:
    r"""A booktabs table, ready for ``\input``; it needs ``\usepackage{booktabs}``."""
    columns = _columns(table)
    caption = ". ".join(filter(None, (table.title, table.note)))
    sides = "".join("l" if column.kind == "text" else "r" for column in columns)
    lines = [
        r"\begin{table}[t]",
        r"  \centering",
        rf"  \caption{{{_escape(caption)}}}",
        rf"  \begin{{tabular}}{{{sides}}}",
        r"    \toprule",
        f"    {' & '.join(_escape(column.label) for column in columns)} \\\\",
        r"    \midrule",
    ]
    for cells in _text_rows(table, bold=r"\textbf{{{}}}".format, escape=_escape):
        lines.append(f"    {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def csv_text(table: Table) -> str:
    """For programs: value, low and high of every estimate, with six digits; empty where absent."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [column.name for column in (table.row_column, *table.asides)]
    cells = [cell for row in table.rows for cell in row.cells]
    has_p = any(isinstance(cell, Estimate) and cell.p_value is not None for cell in cells)
    ends = ("", "_low", "_high", "_p") if has_p else ("", "_low", "_high")
    for column in table.columns:
        name = column.name
        names += [f"{name}{end}" for end in ends] if column.kind == "estimate" else [name]
    writer.writerow(names)
    for row in _data_rows(table):
        values: list[object] = [row.label, *row.asides]
        for column, cell in zip(table.columns, row.cells, strict=True):
            found = _numbers(cell)[: len(ends)] if column.kind == "estimate" else [_known(cell)]
            texts = [f"{value:.6g}" if isinstance(value, float) else value for value in found]
            values += ["" if text is None else text for text in texts]
        writer.writerow(values)
    return out.getvalue()


def json_text(table: Table) -> str:
    """Everything, in full; null where there is no number. An interval is a metric's ``_ci``."""
    rows = []
    for row in _data_rows(table):
        names = [column.name for column in (table.row_column, *table.asides)]
        content: dict[str, Any] = dict(zip(names, (row.label, *row.asides), strict=True))
        for column, cell in zip(table.columns, row.cells, strict=True):
            name = column.name
            if column.kind != "estimate":
                content[name] = _known(cell)
                continue
            mean, low, high, p_value = _numbers(cell)
            content |= {name: mean, f"{name}_ci": None if low is None else [low, high]}
            if p_value is not None:
                content[f"{name}_p"] = p_value
        rows.append(content)
    whole = {"title": table.title, "note": table.note, **table.details, "rows": rows}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


FORMS: dict[str, Callable[[Table], str]] = {
    ".md": markdown,
    ".csv": csv_text,
    ".tex": latex,
    ".json": json_text,
}
FOR_PROGRAMS = (".csv", ".json")


def write_tables(
    folder: Path, stem: str, *tables: Table, forms: Sequence[str] = (".md", ".csv", ".tex")
) -> list[Path]:
    """Write tables into a folder, in a file ``<stem><form>`` for each form; return their paths.

    CSV and JSON have the first table alone: the others repeat some of its columns for people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{form}" for form in forms]
    for form, path in zip(forms, paths, strict=True):
        shown = tables[:1] if form in FOR_PROGRAMS else tables
        write_text(path, "\n".join(map(FORMS[form], shown)))
    return paths


def show_table(folder: Path, name: str, table: Table) -> None:
    """Write a table beside a run's other files, and print it."""
    write_tables(folder, name, table, forms=(".md", ".csv", ".json"))
    print_tables(table)


def _terminal_row(table: Table, row: Row, *, is_wide: bool) -> list[Text]:
    style = "bold" if row.is_heading else ""
    label = Text(_broken(row.label), style)
    for aside in table.aside_texts(row):
        label.append(f"\n{aside}", "dim")
    cells = [
        _terminal_cell(cell, column, is_best=table.is_best(row, column), is_wide=is_wide)
        for column, cell in table.shown(row)
    ]
    for cell in cells:
        cell.stylize(style)
    return [label, *cells]


def _terminal_cell(cell: Cell, column: Column, *, is_best: bool, is_wide: bool) -> Text:
    if not isinstance(cell, Estimate) or math.isnan(cell.mean):
        is_bad = column.is_alarm and cell not in (0, "", None)
        return Text(cell_text(cell, column.digits), "bold red" if is_bad else "")
    value = f"{_number(cell, cell.mean, column.digits)}{'*' * is_best}"
    text = Text(value, "bold green" if is_best else "")
    if is_wide:
        _, space, rest = cell_text(cell, column.digits).partition(" ")
        return text.append(f"{space}{rest}", "dim not bold")
    if cell.has_interval:
        text.append(f"\n{_interval(cell, column.digits)}", "dim not bold")
    if _has_p(cell):
        text.append(f"\n{p_text(cell.p_value).replace(' ', '')}", "dim not bold")
    return text


def _interval(estimate: Estimate, digits: int | None) -> str:
    """As short as can be: one digit less than the value, and one end if both look the same."""
    if estimate.p_value is not None:
        low, high = (_number(estimate, end, digits) for end in (estimate.low, estimate.high))
        return f"[{low},\n{high}]"
    if estimate.num_seeds > 1:
        return f"± {_digits(estimate.half_width, digits)}"
    fewer = None if digits is None else max(digits - 1, 0)
    low, high = _digits(estimate.low, fewer), _digits(estimate.high, fewer)
    return f"[{low}]" if low == high else f"[{low}–{high}]"


def _bare_text(cell: float | str | None, digits: int | None) -> str:
    if isinstance(cell, str):
        return cell
    if cell is None or math.isnan(cell):
        return ABSENT
    if isinstance(cell, int):
        return str(cell)
    text = _digits(cell, digits)
    is_lost = digits is not None and cell > 0 and float(text) == 0
    return f"<{10.0**-digits:.{digits}f}" if is_lost and digits is not None else text


def _number(estimate: Estimate, value: float, digits: int | None) -> str:
    """A value or an end of an estimate, with a sign if it is a difference."""
    return _digits(value, digits, sign="" if estimate.p_value is None else "+")


def _digits(value: float, digits: int | None, *, sign: str = "") -> str:
    """Write a number, if no digits are asked for with the three that count.

    Example:
        >>> [_digits(x, None) for x in (0.0123, 0.5, 56.78, 1234.5)]
        ['0.0123', '0.500', '56.8', '1,234']
    """
    if digits is None:
        return f"{value:{sign}#.3g}" if abs(value) < 99.95 else f"{value:{sign},.0f}"
    return f"{value:{sign}.{digits}f}"


def _has_p(estimate: Estimate) -> bool:
    return estimate.p_value is not None and not math.isnan(estimate.p_value)


def _columns(table: Table) -> list[Column]:
    """Those that people see, the rows' labels first."""
    shown = [column for column in table.columns if not column.is_for_programs]
    return [table.row_column, *table.asides, *shown]


def _data_rows(table: Table) -> Iterator[Row]:
    return (row for row in table.rows if not row.is_heading)


def _text_rows(
    table: Table, *, bold: Callable[[str], str], escape: Callable[[str], str] = str
) -> Iterator[list[str]]:
    for row in table.rows:
        asides = row.asides or [""] * len(table.asides)
        cells = [escape(text) for text in (row.label, *map(str, asides))]
        for column, cell in table.shown(row):
            text = escape(cell_text(cell, column.digits))
            cells.append(bold(text) if table.is_best(row, column) else text)
        yield [bold(text) if text else "" for text in cells] if row.is_heading else cells


def _numbers(cell: Cell) -> list[Any]:
    """Mean, low, high and p-value; None where there is none."""
    if not isinstance(cell, Estimate):
        return [None] * 4
    ends = (cell.low, cell.high) if cell.has_interval else (None, None)
    return list(map(_known, (cell.mean, *ends, cell.p_value)))


def _known(value: Any) -> Any:
    """A value for programs: None in the place of a number that could not be had."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _broken(label: str) -> str:
    """A row's label for a narrow column: what stands in brackets on a line of its own."""
    return label.replace(" (", "\n(")


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


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
