"""Commands that need no model: each prints its tables, and keeps them in the run's folder.

What makes tables is imported when there is something to show, so that --help answers at once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def rescore(phase: Callable[[], Any], folder: Path) -> None:
    """Score caption files."""
    from repic.tables.rescoring_table import rescoring_tables

    show(folder, "rescored", rescoring_tables(phase()))


def compare(phase: Callable[[], Any], folder: Path) -> None:
    """Let a judge choose between two systems' captions."""
    from repic.tables.preferences_table import preferences_table

    show(folder, "compared", [preferences_table(phase())])


def check_data(
    phase: Callable[[Callable[[str], Any], Sequence[str]], Any],
    folder: Path,
    *,
    open_split: Callable[[str], Any],
    splits: Sequence[str],
) -> None:
    """Look at every file of the data.

    Args:
        phase: takes the next two.
        folder: of the run.
        open_split: gives a split's dataset by its name.
        splits: those that the data have.

    Raises:
        ValueError: something is missing or corrupt.
    """
    from repic.tables.data_table import data_table

    check = phase(open_split, splits)
    show(folder, "check", [data_table(check)], forms=(".md", ".json"))
    if (complaint := check.complaint()) is not None:
        raise ValueError(f"data: {complaint}; {folder / 'check.md'} lists them")


def show(
    folder: Path,
    stem: str,
    tables: Sequence[Any],
    *,
    forms: Sequence[str] = (".md", ".csv", ".json"),
) -> None:
    """Write tables into a folder, and print them."""
    from repic.tables.write import print_tables, write_tables

    first, *others = write_tables(folder, stem, *tables, forms=forms)
    print_tables(*tables)
    print(f"written to {first} and {', '.join(path.suffix for path in others)}")
