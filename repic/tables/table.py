"""What a table is, whatever it is about: columns, rows, and a cell where they meet.

Whoever has something to show builds one; ``repic.tables.write`` writes it in every form.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from repic.metrics.column import Direction
from repic.tables.estimates import Estimate

# None: there is nothing. A bare number has no interval.
Cell = Estimate | float | str | None


@dataclass(frozen=True)
class Column:
    """What stands below each other.

    Attributes:
        label: the header.
        title: what the page says of it, to who points at the header.
        key: what CSV and JSON call it; the label if it is empty.
        kind: "text" stands at the left. CSV and JSON give "estimate" with the ends of its interval.
        digits: after the point; None: as many as make three in all.
        direction: which value is the best one, and so in bold: the highest ("up"), the lowest
            ("down"), or none.
        is_alarm: whether the terminal shows what is not 0 in red.
        is_for_programs: whether it stands in CSV and JSON alone.
        unsaid: a value that the terminal and the page leave out beside a row's label.
    """

    label: str
    title: str = ""
    key: str = field(default="", kw_only=True)
    kind: Literal["text", "number", "estimate"] = field(default="estimate", kw_only=True)
    digits: int | None = field(default=1, kw_only=True)
    direction: Direction = field(default="none", kw_only=True)
    is_alarm: bool = field(default=False, kw_only=True)
    is_for_programs: bool = field(default=False, kw_only=True)
    unsaid: float | None = field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        """What CSV and JSON call it."""
        return self.key or self.label


CONFIGURATION = Column("configuration", kind="text")


@dataclass(frozen=True)
class Row:
    """A label and a cell for each column.

    Attributes:
        label: what it is about.
        cells: in the order of the table's columns.
        asides: what the table's asides say of it.
        block: rows of one block stand together, and the best value is sought in each.
        is_heading: a title of the rows below it, which CSV and JSON leave out.
    """

    label: str
    cells: tuple[Cell, ...]
    asides: tuple[float | str, ...] = ()
    block: str = ""
    is_heading: bool = False


@dataclass(frozen=True)
class Table:
    """A table that is ready to be written in any form; see ``repic.tables.write``.

    Attributes:
        note: how to read it.
        row_column: of the rows' labels.
        asides: columns that the terminal and the page, where room is scarce, set below a row's
            label; in all other forms they follow it.
        lists: sentences, each with the list that belongs to it; they stand below the note.
        details: what JSON says beside the rows.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    row_column: Column = CONFIGURATION
    asides: Sequence[Column] = ()
    lists: Sequence[tuple[str, Sequence[str]]] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_values(self) -> bool:
        """Whether there is anything in it."""
        return any(cell is not None for row in self.rows for cell in row.cells)

    def shown(self, row: Row) -> Iterator[tuple[Column, Cell]]:
        """The columns that people see, with a row's cells."""
        for column, cell in zip(self.columns, row.cells, strict=True):
            if not column.is_for_programs:
                yield column, cell

    def aside_texts(self, row: Row) -> list[str]:
        """What stands below a row's label, where room is scarce.

        Example:
            >>> table = Table("", (), (), asides=(Column("seeds", unsaid=1), Column("protocol")))
            >>> table.aside_texts(Row("a", (), (3, "paper"))), table.aside_texts(Row("b", (), (1,)))
            (['3 seeds', 'paper'], [])
        """
        pairs = zip(self.asides, row.asides, strict=False)
        said = [(column.label, value) for column, value in pairs if value != column.unsaid]
        return [value if isinstance(value, str) else f"{value} {label}" for label, value in said]

    def is_best(self, row: Row, column: Column) -> bool:
        """Whether a cell shows the best value of its column and block.

        None does where there is nothing to choose: of one row, or where all are equal.
        """
        if column.direction == "none":
            return False
        place = self.columns.index(column)
        block = [other for other in self.rows if other.block == row.block]
        # To the digit that is printed: what looks equal is equally good.
        shown = [_rounded(other.cells[place], column.digits) for other in block]
        values = {value for value in shown if value is not None}
        value = _rounded(row.cells[place], column.digits)
        is_equal = len(values) == 1 and shown.count(value) > 1
        best = max if column.direction == "up" else min
        return len(block) > 1 and bool(values) and not is_equal and value == best(values)


def _rounded(cell: Cell, digits: int | None) -> float | None:
    return round(cell.mean, digits) if isinstance(cell, Estimate) else None
