"""What a table is: columns, which are metrics; rows, which are configurations; estimates in both.

``repic.tables.ablation`` makes them from runs, ``repic.tables.write`` writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from repic.tables.estimates import Estimate
from repic.tables.runs import Run

ALL = "all"
WEIGHTED = "weighted_reward"  # a metric that is computed for one table; see ``weighting``


@dataclass(frozen=True)
class Column:
    """A metric at a number of concepts ("1" to "5", or "all").

    ``has_best``: whether the highest value is the best one, and so in bold.
    """

    label: str
    title: str
    metric: str
    count: str
    has_best: bool = True
    digits: int = 1


@dataclass(frozen=True)
class Row:
    """One configuration; an estimate a column, None where there is nothing.

    Attributes:
        num_seeds: how many different results it is the mean of.
        block: the settings of its prompts, if those vary; the best value is sought in a block.
        phase: which model's captions.
        runs: seed -> the run they come from; "" is the seed of what does not depend on it.
    """

    label: str
    num_seeds: int
    estimates: tuple[Estimate | None, ...]
    block: str = ""
    phase: str = ""
    runs: Mapping[str, Run] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Table:
    """A table that is ready to be written in any form; see ``repic.tables.write``."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str
    row_title: str = "configuration"

    def is_best(self, row: int, column: int) -> bool:
        """Whether a cell shows the highest value of its column and block.

        None does where there is nothing to choose: of one row, or where all are equal.
        """
        if not self.columns[column].has_best:
            return False
        block = [r for r in self.rows if r.block == self.rows[row].block]
        digits = self.columns[column].digits
        shown = [_shown(r.estimates[column], digits) for r in block]
        values = {value for value in shown if value is not None}
        value = _shown(self.rows[row].estimates[column], digits)
        is_equal = len(values) == 1 and shown.count(value) > 1
        return len(block) > 1 and bool(values) and not is_equal and value == max(values)


def accuracy_columns(runs: Sequence[Run]) -> tuple[Column, ...]:
    """Recognition accuracy for every number of concepts that was evaluated, and CIDEr over all."""
    return (*count_columns(runs, "accuracy", "acc"), CIDER)


def count_columns(runs: Sequence[Run], metric: str, short: str) -> tuple[Column, ...]:
    """One metric for every number of concepts that was evaluated."""
    return tuple(
        Column(f"{short}@{c}", f"{metric} at {c} concept{'' if c == '1' else 's'}", metric, c)
        for c in counts_of(runs)
    )


def counts_of(runs: Sequence[Run]) -> list[str]:
    """The numbers of concepts that were evaluated, in order."""
    cells = (cells for run in runs for cells in run.metrics.values())
    return sorted({count for by_count in cells for count in by_count if count != ALL}, key=int)


CIDER = Column("CIDEr", "CIDEr × 100 over all scenes", "cider", ALL)

# Single concept | multi concept (3) | caption quality.
FOUNDING = (
    Column("single concept", "recognition accuracy % at 1 concept", "accuracy", "1"),
    Column("multi concept (3)", "recognition accuracy % at 3 concepts", "accuracy", "3"),
    Column("caption quality", "CIDEr × 100 over all scenes", "cider", ALL),
)


def _shown(estimate: Estimate | None, digits: int) -> float | None:
    """The value to the digit that is printed: what looks equal is equally good."""
    return None if estimate is None else round(estimate.mean, digits)
