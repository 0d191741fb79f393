"""The layouts in which saved runs can be shown, by the name that ``--form`` knows."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from repic.metrics.captions.when import When
from repic.metrics.column import TABLES, Direction, ScoreColumn
from repic.metrics.naming import PaperNames, Recognition
from repic.tables.ablation import Ablation, ablation, estimate_of
from repic.tables.columns import (
    ALL,
    FOUNDING,
    MetricColumn,
    accuracy_columns,
    count_columns,
    counts_of,
)
from repic.tables.runs import Cell, Run
from repic.tables.table import Column, Row, Table
from repic.words import counted

Layout = Callable[[Sequence[Run]], list[Ablation]]

SINGLE = (
    MetricColumn("accuracy@1", "recognition accuracy % at 1 concept", "accuracy", "1"),
    MetricColumn("CIDEr@1", "CIDEr × 100 at 1 concept", "cider", "1"),
    MetricColumn("overall", "mean of accuracy and CIDEr at 1 concept", "overall", "1"),
)
MULTI = tuple(
    MetricColumn(f"acc@{c}", f"recognition accuracy % at {c} concepts", "accuracy", str(c))
    for c in range(2, 6)
)
NAMES_NOTE = (
    "P, R, F1: precision, recall and F1 of names, in %. paper: RePIC's released evaluation, where a"
    " token must be the name and a wrong name counts only in a caption that leaves a right one out;"
    " robust: a name counts in any spelling, and every name of somebody absent, or bracketed name"
    " of nobody, is an error. A caption that names everybody is perfect by the first alone."
)

RECOGNITION = "Is this the friend? Answers of yes or no (%)"
RECOGNITION_NOTE = (
    "Right answers in % by what the picture shows: positive, the friend, so that yes is right; and,"
    " where no is right, lookalike, somebody who looks like the friend (of photos: of the same"
    " category); random, another friend; absent, somebody who is no friend. weighted: the mean of"
    " what is right where it is yes and where it is no, as Yo'LLaVA reports it: one word for all"
    " gives 50. neither: answers without yes or no, which count as wrong unless"
    " data.recognize.drop_others is true."
)
QUESTIONS = "Questions about friends, with answers to choose from (%)"
QUESTIONS_NOTE = (
    "Right answers in %: visual, to what has to be seen in a picture; text, to what is said of the"
    " friends; mean, of both. no choice: answers that choose no option, or several, and count as"
    " wrong. Below each who answers the same questions without the picture, without"
    " references, or with another's reference under the friend's name (who learns friends has then"
    " learnt nobody, or another): what is right there as well needs no knowledge of the friend."
)
# By the names that a summary has: what questions with options are asked without.
CONTROLS = {
    "whole": "",
    "no_picture": "without the picture",
    "no_references": "without references",
    "anothers": "with another's reference",
}
NO_CHOICE = "no choice"
COSTS = (
    Column("pictures", kind="number", digits=0),
    Column("seconds", kind="number", digits=None),
    Column("parameters", kind="number", digits=0),
    Column("bytes", kind="number", digits=0),
    Column("prompt tokens", key="prompt_tokens", kind="number"),
)
COSTS_NOTE = (
    "Of one friend, on average: pictures that are learnt from or shown, seconds to learn (once, on"
    " this machine), parameters that are trained, bytes that are kept, and tokens by which each"
    " friend of a prompt makes it longer (–: not counted, as all captions had been kept)."
)

_NAMES = [c for c in (*PaperNames().columns, *Recognition().columns) if "accuracy" not in c.name]


def of_columns(title: str, columns: Callable[[Sequence[Run]], Sequence[MetricColumn]]) -> Layout:
    """A layout of one table; the runs say which of its columns there are."""

    def make(runs: Sequence[Run]) -> list[Ablation]:
        return [ablation(runs, columns(runs), title=title)]

    return make


accuracy = of_columns("Recognition accuracy (%) by number of concepts, and CIDEr", accuracy_columns)
founding = of_columns(
    "Ablation: recognition accuracy (%) and caption quality (CIDEr over all scenes)",
    lambda runs: FOUNDING,
)
single = of_columns(
    "Single concept: recognition accuracy (%), CIDEr × 100, and overall, the mean of the two",
    lambda runs: SINGLE,
)
multi = of_columns(
    "Several concepts: recognition accuracy (%) by their number",
    lambda runs: [column for column in MULTI if column.count in counts_of(runs)],
)
cider = of_columns(
    "CIDEr by number of concepts", lambda runs: count_columns(runs, "cider", "CIDEr")
)


def names_table(runs: Sequence[Run], count: str, *, note: str = NAMES_NOTE) -> Ablation:
    """Names at one number of concepts, or over all scenes."""
    where = "over all scenes" if count == ALL else f"at {counted(int(count), 'concept')}"
    return ablation(
        runs,
        columns=[MetricColumn(c.label, c.name, c.name, count) for c in _NAMES],
        title=f"Names {where}: precision, recall and F1 by two protocols (%)",
        note=note,
    )


def clips(runs: Sequence[Run]) -> list[Ablation]:
    """Names in clips: who is there at all, and who is there in which frame; none of stills."""
    cells = [by_count.get(ALL, {}) for run in runs for by_count in run.metrics.values()]
    if not any(isinstance(cell.get("when_f1"), float) for cell in cells):
        return []
    named = [c for c in Recognition().columns if c.name != "accuracy"]
    columns = [(c.label.replace("robust", "by clip"), c) for c in named]
    columns += [(c.label, c) for c in When().columns]
    return [
        ablation(
            runs,
            columns=[MetricColumn(label, c.name, c.name, ALL) for label, c in columns],
            title="Names in clips: precision, recall and F1 (%), by clip and by frame",
            note="By clip: a name counts in any spelling, and every name of somebody who is never"
            " there is an error. By frame: pairs of a name and a frame.",
        )
    ]


def recognition(runs: Sequence[Run]) -> list[Ablation]:
    """Yes-or-no questions, of whoever answered any."""
    found = [_with_cells(run, run.recognition) for run in runs]
    return _by_kind(found, RECOGNITION, RECOGNITION_NOTE)


def questions(runs: Sequence[Run]) -> list[Ablation]:
    """Questions with options, of whoever answered any, with what controls get right."""
    return _by_kind([_with_controls(run) for run in runs], QUESTIONS, QUESTIONS_NOTE)


def _by_kind(runs: Sequence[Run], title: str, note: str) -> list[Ablation]:
    """A table with a column for each kind of question that was answered; none without any."""
    cells = (by_count[ALL] for run in runs for by_count in run.metrics.values())
    kinds = dict.fromkeys(kind for cell in cells for kind in cell)
    columns = [
        MetricColumn(kind, metric=kind, direction=direction_of(kind), is_of_captions=False)
        for kind in kinds
    ]
    return [ablation(runs, columns, title=title, note=note)] if kinds else []


def direction_of(kind: str) -> Direction:
    """Which share of a kind of question is the best one."""
    return "none" if kind in ("neither", NO_CHOICE) else "up"


def answers_table(
    title: str, note: str, kinds: Iterable[str], rows: Iterable[tuple[str, Mapping[str, float]]]
) -> Table:
    """What one run's questions gave: a label and percentages by kind of question for each row."""
    columns = [Column(kind, kind="number", direction=direction_of(kind)) for kind in kinds]
    cells = [Row(label, tuple(cell.get(c.label) for c in columns)) for label, cell in rows]
    return Table(title, columns, cells, note, Column("answers of", kind="text"))


def costs(runs: Sequence[Run]) -> list[Ablation]:
    """What a friend costs, where anybody has learnt one."""
    if not any(cell.get("seconds") for run in runs for cell in run.costs.values()):
        return []
    columns = [
        MetricColumn(
            c.label, metric=c.name, direction="none", digits=c.digits, is_of_captions=False
        )
        for c in COSTS
    ]
    found = [_with_cells(run, run.costs) for run in runs]
    return [ablation(found, columns, title="What a friend costs", note=COSTS_NOTE)]


def _with_cells(run: Run, cells: Mapping[str, Cell]) -> Run:
    """A run as if these were what it has measured."""
    return replace(run, metrics={name: {ALL: cell} for name, cell in cells.items()})


def _with_controls(run: Run) -> Run:
    """A run as if each control were somebody who has measured something."""
    cells, authors = {}, {}
    for name, controls in run.questions.items():
        for control, said in CONTROLS.items():
            if control in controls:
                key, labels = f"{name}/{control}", run.authors[name]
                cells[key], authors[key] = controls[control], labels.of(said) if said else labels
    return replace(_with_cells(run, cells), authors=authors)


def names_tables(runs: Sequence[Run]) -> list[Ablation]:
    """A table for each number of concepts; the first alone says what the protocols are."""
    return [
        names_table(runs, count, note="" if i else NAMES_NOTE)
        for i, count in enumerate(counts_of(runs))
    ]


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


LAYOUTS: Mapping[str, Layout] = {
    "accuracy": accuracy,
    "founding": founding,
    "single": single,
    "multi": multi,
    "names": names_tables,
    "clips": clips,
    "recognition": recognition,
    "questions": questions,
    "costs": costs,
}
# What gives a run the values of a layout that are not of captions of any scenes.
COME_FROM = {
    "clips": "it is about clips: data=toybox_clips",
    "recognition": "it is about yes-or-no questions: task=recognize",
    "questions": "it is about questions with options: task=ask",
    "costs": "it is about systems that learn a friend: captioner=systems",
}
EVERY = "all"
CHOICES = (*LAYOUTS, EVERY)


def refuse_unknown(layout: str, key: str) -> None:
    """Raise for a layout that there is not; ``key`` is where it was asked for."""
    if layout not in CHOICES:
        raise ValueError(f"{key}: {layout!r} is not one of {', '.join(CHOICES)}")


def summary_tables(runs: Sequence[Run]) -> dict[str, Ablation]:
    """What a run, or a sweep, shows of itself, by the names of its files."""
    tables = {"table": accuracy(runs)[0], "cider": cider(runs)[0]}
    tables["names"] = names_table(runs, ALL)
    tables |= {f"captions_{i}": table for i, table in enumerate(caption_tables(runs), start=1)}
    others = {"recognition": recognition, "questions": questions, "costs": costs}
    tables |= {name: table for name, make in others.items() for table in make(runs)}
    return {name: table for name, table in tables.items() if table.has_values}


def tables_of(layout: str, runs: Sequence[Run]) -> dict[str, Ablation]:
    """The tables of a layout, by the names of their files; "all" leaves out what is empty.

    Raises:
        ValueError: no run has what the layout shows.
    """
    every = {**LAYOUTS, "cider": cider, "captions": caption_tables}
    makers = every if layout == EVERY else {layout: LAYOUTS[layout]}
    found: dict[str, Ablation] = {}
    for name, make in makers.items():
        found |= _named(name, make(runs))
    if not found:
        there = ", ".join(counts_of(runs)) or "none"
        counts = "Evaluate others with metrics.counts=[…], or choose another form"
        counts = f"numbers of concepts that were evaluated: {there}. {counts}"
        raise ValueError(
            f"--form {layout}: no run has a value for it; {COME_FROM.get(layout, counts)}"
        )
    return found


def with_column(table: Ablation, column: MetricColumn, note: str) -> Ablation:
    """Add a column to a table, from the results that its rows keep."""
    rows = []
    for row in table.rows:
        results = [run.metrics[row.phase] for run in row.runs.values()]
        rows.append(replace(row, cells=(*row.cells, estimate_of(results, column))))
    columns = (*table.columns, column)
    return replace(table, columns=columns, rows=tuple(rows), note=f"{note} {table.note}")


def _named(name: str, tables: Sequence[Ablation]) -> dict[str, Ablation]:
    shown = [table for table in tables if table.has_values]
    if len(tables) == 1:
        return dict(zip((name,), shown, strict=False))
    return {f"{name}_{i}": table for i, table in enumerate(shown, start=1)}
