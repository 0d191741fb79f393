"""Precision, recall and F1 of names by both protocols: the form of RePIC's tables 1, 2 and 6."""

from collections.abc import Sequence
from dataclasses import replace

from repic.data.predictions import read_predictions
from repic.tables.ablation import ablation
from repic.tables.runs import Cell, Run
from repic.tables.table import ALL, Column, Table, counts_of

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


def names_table(runs: Sequence[Run], count: str, *, note: str = NOTE) -> Table:
    """Names at one number of concepts, or over all scenes."""
    where = (
        "over all scenes" if count == ALL else f"at {count} concept{'' if count == '1' else 's'}"
    )
    return ablation(
        runs,
        columns=[Column(label, metric, metric, count) for metric, label in COLUMNS.items()],
        title=f"Names {where}: precision, recall and F1 by two protocols (%)",
        note=note,
    )


def names_tables(runs: Sequence[Run]) -> list[Table]:
    """A table for each number of concepts; the first alone says what the protocols are."""
    return [
        names_table(runs, count, note="" if i else NOTE) for i, count in enumerate(counts_of(runs))
    ]


def with_protocols(run: Run, *, num_samples: int, confidence: float, seed: int) -> Run:
    """Give a run that is older than its summary's names by protocol those of its captions.

    A run that has them comes back as it is; so does one whose captions are gone.

    Args:
        run: as it was read.
        num_samples: of the bootstrap over images, as are the others.
    """
    if all(NAME_METRICS[0] in cell for cells in run.metrics.values() for cell in cells.values()):
        return run
    from repic.metrics.protocols import protocol_cells
    from repic.metrics.suite import by_phase

    metrics = {phase: dict(cells) for phase, cells in run.metrics.items()}
    for phase, predictions in by_phase(read_predictions(run.folder)).items():
        found = protocol_cells(
            predictions, num_samples=num_samples, confidence=confidence, seed=seed
        )
        for count, cell in found.items():
            if count in metrics.get(phase, {}):
                metrics[phase][count] = {**metrics[phase][count], **_as_read(cell)}
    return replace(run, metrics=metrics)


def _as_read(cell: dict[str, float | list[float]]) -> Cell:
    return {
        key: (value[0], value[1]) if isinstance(value, list) else value
        for key, value in cell.items()
    }
