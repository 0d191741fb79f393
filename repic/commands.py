"""Commands that need no model: each prints its table, and keeps it in the run's folder.

Rendering is imported when there is something to show, so that --help answers at once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def rescore(phase: Callable[[], Any], folder: Path) -> None:
    """Score caption files."""
    from rich.console import Console

    from repic.tables import write as render
    from repic.tables.rescoring_table import caption_tables, terminal, write_rescored

    rows = phase()
    paths = write_rescored(folder, rows)
    Console().print(terminal(rows))
    for table in caption_tables(rows):
        Console().print(render.terminal(table))
    print(f"written to {paths[0]}, .csv and .json")


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
    from rich.console import Console

    from repic.tables.data_table import notes, terminal, write_check

    check = phase(open_split, splits)
    paths = write_check(folder, check)
    console = Console()
    console.print(terminal(check))
    for title, items in notes(check):
        console.print(title, *items, sep="\n  ", markup=False, highlight=False, soft_wrap=True)
    print(f"written to {paths[0]} and .json")
    if (complaint := check.complaint()) is not None:
        raise ValueError(f"data: {complaint}; {paths[0]} lists them")


def compare(phase: Callable[[], Any], folder: Path) -> None:
    """Let a judge choose between two systems' captions."""
    from rich.console import Console

    from repic.tables.preferences_table import terminal, write_compared

    found = phase()
    paths = write_compared(folder, found)
    Console().print(terminal(found))
    print(f"written to {paths[0]}, .csv and .json")
