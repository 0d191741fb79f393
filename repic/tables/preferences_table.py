"""The table of preferences between two systems: for the terminal, as Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import rich.table

from repic.metrics.captions.preferences import Preferences
from repic.tables.write import framed, write_text

TITLE = "Which captions are preferred"
NOTE = (
    "preferred: wins and half of the ties of A, in % of the pairs with a verdict; [low, high]:"
    " bootstrap interval over images. turns: ties because the choice changed with the order. p:"
    " two-sided sign test of wins against losses, which takes pairs for independent."
)
ALL = "all"
COLUMNS = ("names", "pairs", "A preferred", "wins", "ties", "losses", "turns", "no verdict", "p")


@dataclass(frozen=True)
class Compared:
    """Two systems' captions, compared.

    Attributes:
        first: A, whose captions are preferred or not.
        second: B.
        judge: who has chosen.
        rows: by number of names a caption, "all" first.
    """

    first: str
    second: str
    judge: str
    rows: Mapping[str, Preferences]


def terminal(found: Compared) -> rich.table.Table:
    """For ``rich.console.Console().print``."""
    out = framed(_title(found), NOTE)
    for column in COLUMNS:
        out.add_column(column, justify="right")
    for name, row in found.rows.items():
        out.add_row(*_cells(name, row))
    return out


def markdown(found: Compared) -> str:
    """A pipe table with its title above and its note below."""
    lines = [_pipes(COLUMNS), _pipes(["--:"] * len(COLUMNS))]
    lines += [_pipes(_cells(name, row)) for name, row in found.rows.items()]
    return f"**{_title(found)}**\n\n" + "\n".join(lines) + f"\n\n{NOTE}\n"


def csv_text(found: Compared) -> str:
    """For programs: a line for each row; empty where there is no interval."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for name in Preferences.__dataclass_fields__ if name != "interval"]
    writer.writerow(["first", "second", "judge", "names", *names, "low", "high"])
    for name, row in found.rows.items():
        values = [f"{getattr(row, column):.6g}" for column in names]
        ends = [f"{end:.6g}" for end in row.interval or ()] or ["", ""]
        writer.writerow([found.first, found.second, found.judge, name, *values, *ends])
    return out.getvalue()


def json_text(found: Compared) -> str:
    """Everything, in full; null where there is no interval."""
    return json.dumps({"note": NOTE, **asdict(found)}, indent=2, ensure_ascii=False) + "\n"


def write_compared(folder: Path, found: Compared) -> list[Path]:
    """Write ``compared.md``, ``.csv`` and ``.json`` into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, write in {".md": markdown, ".csv": csv_text, ".json": json_text}.items():
        paths.append(folder / f"compared{suffix}")
        write_text(paths[-1], write(found))
    return paths


def _title(found: Compared) -> str:
    return f"{TITLE}: A = {found.first}, B = {found.second} (judge: {found.judge})"


def _cells(name: str, row: Preferences) -> list[str]:
    preferred = f"{row.preferred:.1f}"
    if row.interval is not None:
        preferred += f" [{row.interval[0]:.1f}, {row.interval[1]:.1f}]"
    counts = (row.wins, row.ties, row.losses, row.inconsistent, row.num_pairs - row.num_judged)
    return [name, str(row.num_pairs), preferred, *map(str, counts), _p(row.p_value)]


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _pipes(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
