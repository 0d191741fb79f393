"""A table of every other row minus one, each cell with its interval and p-value."""

from dataclasses import replace

from repic.tables.ablation import Ablation, Configuration
from repic.tables.paired import Comparison

NOTE = (
    "Each cell is the row minus that, with its 95 % interval and two-sided p-value: over several"
    " seeds by Student's t of the differences per seed, else over the images of the same scenes"
    " (paired bootstrap; captions exchanged at random). The p-values are not"
    " corrected for their number."
)


def differences(table: Ablation, against: str, comparison: Comparison) -> Ablation:
    """A table of every other row minus the one that ``against`` names.

    Args:
        table: as ``repic.tables.ablation`` makes it.
        against: a row's label, or a part of it that one row of each block has.
        comparison: how.

    Raises:
        ValueError: no row has such a label, or several of a block have.
    """
    rows = []
    bases = [base_of(row, table, against) for row in table.rows]
    labels = dict.fromkeys(base.label for base in bases)
    for row, base in zip(table.rows, bases, strict=True):
        if base is row:
            continue
        cells = tuple(comparison.difference(row, base, column) for column in table.columns)
        seeds = max((cell.num_seeds for cell in cells if cell is not None), default=1)
        rows.append(replace(row, cells=cells, asides=(seeds,)))
    return replace(
        table,
        title=f"{table.title}: difference from {' and '.join(labels)}",
        columns=tuple(replace(column, direction="none") for column in table.columns),
        rows=tuple(rows),
        note=NOTE + unpaired_note(table, comparison),
    )


def unpaired_note(table: Ablation, comparison: Comparison) -> str:
    """A sentence on the columns whose captions cannot be paired; nothing if there are none."""
    by_reason: dict[str, list[str]] = {}
    for column in table.columns:
        if (reason := comparison.unpaired.get(column.metric)) is not None:
            by_reason.setdefault(reason, []).append(column.label)
    parts = (f"{', '.join(labels)} ({reason})" for reason, labels in by_reason.items())
    return f" Not paired: {'; '.join(parts)}." if by_reason else ""


def base_of(row: Configuration, table: Ablation, against: str) -> Configuration:
    """The row that another is compared with: of its own block, if that has one."""
    matches = [r for r in table.rows if r.label == against]
    matches = matches or [r for r in table.rows if against in r.label]
    same = [r for r in matches if r.block == row.block] or matches
    labels = "; ".join(r.label for r in (same or table.rows))
    if not same:
        raise ValueError(f"--against: no row is called {against!r}; there are: {labels}")
    if len(same) > 1:
        raise ValueError(f"--against: {against!r} is in {len(same)} rows: {labels}; write one out")
    return same[0]
