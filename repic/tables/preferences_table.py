"""The table of preferences between two systems."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from repic.metrics.captions.preferences import Preferences
from repic.tables.estimates import Estimate
from repic.tables.table import Column, Row, Table

TITLE = "Which captions are preferred"
NOTE = (
    "preferred: wins and half of the ties of A, in % of the pairs with a verdict; [low, high]:"
    " bootstrap interval over images. turns: ties because the choice changed with the order. p:"
    " two-sided sign test of wins against losses, which takes pairs for independent."
)
ALL = "all"
COLUMNS = (
    Column("pairs", key="num_pairs", kind="number"),
    Column("A preferred", key="preferred"),
    Column("wins", kind="number"),
    Column("ties", kind="number"),
    Column("losses", kind="number"),
    Column("turns", key="inconsistent", kind="number"),
    Column("no verdict", key="num_unjudged", kind="number"),
    Column("p", key="p_value", kind="number", digits=3),
    *(
        Column(name, kind="text", is_for_programs=True)
        for name in ("num_images", "first", "second", "judge")
    ),
)


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


def preferences_table(found: Compared) -> Table:
    """A row for each number of names."""
    systems = {"first": found.first, "second": found.second, "judge": found.judge}
    rows = []
    for name, row in found.rows.items():
        preferred = Estimate(row.preferred, *(row.interval or (math.nan, math.nan)), num_seeds=1)
        counts = (row.wins, row.ties, row.losses, row.inconsistent, row.num_pairs - row.num_judged)
        hidden = (row.num_images, *systems.values())
        rows.append(Row(name, (row.num_pairs, preferred, *counts, row.p_value, *hidden)))
    title = f"{TITLE}: A = {found.first}, B = {found.second} (judge: {found.judge})"
    names = Column("names", kind="text")
    return Table(title, COLUMNS, rows, NOTE, row_column=names, details=systems)
