"""Precision, recall and F1 of names by both protocols: the form of RePIC's tables 1, 2 and 6."""

from collections.abc import Sequence

from repic.tables.ablation import Ablation, ablation
from repic.tables.columns import ALL, MetricColumn, counts_of
from repic.tables.runs import Run

NOTE = (
    "P, R, F1: precision, recall and F1 of names, in %. paper: RePIC's released evaluation, where a"
    " token must be the name and a wrong name counts only in a caption that leaves a right one out;"
    " robust: a name counts in any spelling, and every name of somebody absent, or bracketed name"
    " of nobody, is an error. A caption that names everybody is perfect by the first alone."
)

# The metrics of ``repic.metrics.protocols``, which is not read for what summaries already have.
COLUMNS = {
    "paper_precision": "P paper",
    "paper_recall": "R paper",
    "paper_f1": "F1 paper",
    "robust_precision": "P robust",
    "robust_recall": "R robust",
    "robust_f1": "F1 robust",
}
NAME_METRICS = tuple(COLUMNS)


def names_table(runs: Sequence[Run], count: str, *, note: str = NOTE) -> Ablation:
    """Names at one number of concepts, or over all scenes."""
    where = (
        "over all scenes" if count == ALL else f"at {count} concept{'' if count == '1' else 's'}"
    )
    return ablation(
        runs,
        columns=[MetricColumn(label, metric, metric, count) for metric, label in COLUMNS.items()],
        title=f"Names {where}: precision, recall and F1 by two protocols (%)",
        note=note,
    )


def names_tables(runs: Sequence[Run]) -> list[Ablation]:
    """A table for each number of concepts; the first alone says what the protocols are."""
    return [
        names_table(runs, count, note="" if i else NOTE) for i, count in enumerate(counts_of(runs))
    ]
