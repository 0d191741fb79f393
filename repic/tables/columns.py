"""Columns that are a metric at a number of concepts, and which of them tables have."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from repic.metrics.column import Direction
from repic.tables.runs import Run
from repic.tables.table import Column
from repic.words import counted

ALL = "all"


@dataclass(frozen=True)
class MetricColumn(Column):
    """A metric at a number of concepts ("1" to "5", or "all").

    Attributes:
        is_of_captions: whether captions are what it measures, so that those of two rows may be
            paired; what friends cost, and answers to questions, are not kept one by one.
    """

    metric: str = ""
    count: str = ALL
    is_of_captions: bool = field(default=True, kw_only=True)
    direction: Direction = field(default="up", kw_only=True)


CIDER = MetricColumn("CIDEr", "CIDEr × 100 over all scenes", "cider")

# Single concept | multi concept (3) | caption quality.
FOUNDING = (
    MetricColumn("single concept", "recognition accuracy % at 1 concept", "accuracy", "1"),
    MetricColumn("multi concept (3)", "recognition accuracy % at 3 concepts", "accuracy", "3"),
    MetricColumn("caption quality", "CIDEr × 100 over all scenes", "cider"),
)


def accuracy_columns(runs: Sequence[Run]) -> tuple[MetricColumn, ...]:
    """Recognition accuracy for every number of concepts that was evaluated, and CIDEr over all."""
    return (*count_columns(runs, "accuracy", "acc"), CIDER)


def count_columns(runs: Sequence[Run], metric: str, short: str) -> tuple[MetricColumn, ...]:
    """One metric for every number of concepts that was evaluated."""
    return tuple(
        MetricColumn(f"{short}@{c}", f"{metric} at {counted(int(c), 'concept')}", metric, c)
        for c in counts_of(runs)
    )


def counts_of(runs: Sequence[Run]) -> list[str]:
    """The numbers of concepts that were evaluated, in order."""
    cells = (cells for run in runs for cells in run.metrics.values())
    return sorted({count for by_count in cells for count in by_count if count != ALL}, key=int)
