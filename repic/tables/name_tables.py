"""Precision, recall and F1 of names by both protocols: the form of RePIC's tables 1, 2 and 6."""

from collections.abc import Sequence

from repic.metrics.naming import PaperNames, Recognition
from repic.tables.ablation import Ablation, ablation
from repic.tables.columns import ALL, MetricColumn, counts_of
from repic.tables.runs import Run

NOTE = (
    "P, R, F1: precision, recall and F1 of names, in %. paper: RePIC's released evaluation, where a"
    " token must be the name and a wrong name counts only in a caption that leaves a right one out;"
    " robust: a name counts in any spelling, and every name of somebody absent, or bracketed name"
    " of nobody, is an error. A caption that names everybody is perfect by the first alone."
)

_DECLARED = [c for c in (*PaperNames().columns, *Recognition().columns) if "accuracy" not in c.name]


def names_table(runs: Sequence[Run], count: str, *, note: str = NOTE) -> Ablation:
    """Names at one number of concepts, or over all scenes."""
    where = (
        "over all scenes" if count == ALL else f"at {count} concept{'' if count == '1' else 's'}"
    )
    return ablation(
        runs,
        columns=[MetricColumn(c.label, c.name, c.name, count) for c in _DECLARED],
        title=f"Names {where}: precision, recall and F1 by two protocols (%)",
        note=note,
    )


def names_tables(runs: Sequence[Run]) -> list[Ablation]:
    """A table for each number of concepts; the first alone says what the protocols are."""
    return [
        names_table(runs, count, note="" if i else NOTE) for i, count in enumerate(counts_of(runs))
    ]
