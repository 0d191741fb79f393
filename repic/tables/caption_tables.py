"""Caption metrics as tables beside the main ones, as the metrics' own declarations say."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from repic.metrics.column import TABLES, ScoreColumn
from repic.tables.ablation import Ablation, ablation
from repic.tables.columns import ALL, MetricColumn
from repic.tables.runs import Run


def grouped(
    columns: Iterable[ScoreColumn], names: Collection[str]
) -> list[tuple[str, list[ScoreColumn], str]]:
    """Title, columns and note of every table that metrics make.

    Args:
        columns: that were declared; of several of a name the first counts.
        names: of those that there are values of.
    """
    declared = {column.name: column for column in reversed(list(columns))}
    shown = [c for c in reversed(declared.values()) if c.table and c.is_shown and c.name in names]
    titles = dict.fromkeys([*TABLES, *(column.table for column in shown)])
    groups = [(title, [c for c in shown if c.table == title]) for title in titles]
    return [(title, found, _note(found)) for title, found in groups if found]


def _note(columns: Sequence[ScoreColumn]) -> str:
    """What the columns say of themselves; what several say stands with the last of them."""
    notes = [note for column in columns for note in column.notes]
    return " ".join(reversed(dict.fromkeys(reversed(notes))))


def caption_tables(runs: Sequence[Run]) -> list[Ablation]:
    """The caption metrics of runs over all numbers of concepts; none without any."""
    cells = [by_count.get(ALL, {}) for run in runs for by_count in run.metrics.values()]
    names = {name for cell in cells for name in cell if isinstance(cell[name], float)}
    groups = grouped((column for run in runs for column in run.columns), names)
    if [column.name for _, columns, _ in groups for column in columns] == ["cider"]:
        return []  # the main table has it
    left_out = {name: why for run in runs for name, why in run.left_out.items()}
    return [
        ablation(
            runs,
            columns=[
                MetricColumn(c.label, c.name, c.name, ALL, direction=c.direction, digits=c.digits)
                for c in columns
            ],
            title=f"Captions {title}",
            note=f"{note} {left_out_note(left_out)}".strip() if i == 0 else note,
        )
        for i, (title, columns, note) in enumerate(groups)
    ]


def left_out_note(left_out: Mapping[str, str]) -> str:
    """A sentence for each metric that could not be computed.

    Example:
        >>> left_out_note({"meteor": "it needs Java"})
        'Left out: meteor (it needs Java).'
    """
    if not left_out:
        return ""
    return f"Left out: {'; '.join(f'{name} ({why})' for name, why in left_out.items())}."
