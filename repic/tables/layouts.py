"""The forms in which saved runs can be shown, by the name that ``python -m repic.table`` knows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from repic.tables.ablation import ablation, estimate_of
from repic.tables.caption_tables import caption_tables
from repic.tables.name_tables import names_table, names_tables
from repic.tables.runs import Run
from repic.tables.table import ALL, FOUNDING, Column, Table, count_columns, counts_of

SINGLE = (
    Column("accuracy@1", "recognition accuracy % at 1 concept", "accuracy", "1"),
    Column("CIDEr@1", "CIDEr × 100 at 1 concept", "cider", "1"),
    Column("overall", "mean of accuracy and CIDEr at 1 concept", "overall", "1"),
)
MULTI = tuple(
    Column(f"acc@{c}", f"recognition accuracy % at {c} concepts", "accuracy", str(c))
    for c in range(2, 6)
)


def accuracy(runs: Sequence[Run]) -> list[Table]:
    """Accuracy by number of concepts, and CIDEr over all scenes."""
    return [ablation(runs)]


def founding(runs: Sequence[Run]) -> list[Table]:
    """Single concept | multi concept (3) | caption quality."""
    return [
        ablation(
            runs,
            columns=FOUNDING,
            title="Ablation: recognition accuracy (%) and caption quality (CIDEr over all scenes)",
        )
    ]


def single(runs: Sequence[Run]) -> list[Table]:
    """Accuracy, CIDEr and their mean at one concept."""
    return [
        ablation(
            runs,
            columns=SINGLE,
            title="Single concept: accuracy (%), CIDEr × 100, and overall, the mean of the two",
        )
    ]


def multi(runs: Sequence[Run]) -> list[Table]:
    """Accuracy at two to five concepts, as many as were evaluated."""
    counts = counts_of(runs)
    return [
        ablation(
            runs,
            columns=[column for column in MULTI if column.count in counts],
            title="Several concepts: recognition accuracy (%) by their number",
        )
    ]


def cider(runs: Sequence[Run]) -> list[Table]:
    """CIDEr at each number of concepts."""
    columns = count_columns(runs, "cider", "CIDEr")
    return [ablation(runs, columns=columns, title="CIDEr by number of concepts")]


Form = Callable[[Sequence[Run]], list[Table]]

FORMS: Mapping[str, Form] = {
    "accuracy": accuracy,
    "founding": founding,
    "single": single,
    "multi": multi,
    "names": names_tables,
}
EVERY = "all"
CHOICES = (*FORMS, EVERY)


def summary_tables(runs: Sequence[Run]) -> dict[str, Table]:
    """What a run, or a sweep, shows of itself, by the names of its files; some may be empty."""
    tables = {"table": accuracy(runs)[0], "cider": cider(runs)[0]}
    tables["names"] = names_table(runs, ALL)
    captions = enumerate(caption_tables(runs), start=1)
    return {**tables, **{f"captions_{number}": table for number, table in captions}}


def tables_of(form: str, runs: Sequence[Run]) -> dict[str, Table]:
    """The tables of a form, by the names of their files; "all" leaves out what is empty.

    Raises:
        ValueError: no run has what the form shows.
    """
    if form == EVERY:
        found = {name: make(runs) for name, make in {**FORMS, "cider": cider}.items()}
        found["captions"] = caption_tables(runs)
        return {k: table for name, ts in found.items() for k, table in _named(name, ts).items()}
    found = _named(form, FORMS[form](runs))
    if not found:
        there = ", ".join(counts_of(runs)) or "none"
        raise ValueError(
            f"--form {form}: no run has a value for it; numbers of concepts that were evaluated:"
            f" {there}. Evaluate others with metrics.counts=[…], or choose another form"
        )
    return found


def with_column(table: Table, column: Column, note: str) -> Table:
    """Add a column to a table, from the results that its rows keep."""
    rows = []
    for row in table.rows:
        cells = [run.metrics[row.phase] for run in row.runs.values()]
        rows.append(replace(row, estimates=(*row.estimates, estimate_of(cells, column))))
    columns = (*table.columns, column)
    return replace(table, columns=columns, rows=tuple(rows), note=f"{note} {table.note}")


def _named(name: str, tables: Sequence[Table]) -> dict[str, Table]:
    shown = [table for table in tables if table.columns and has_values(table)]
    if len(tables) == 1:
        return dict(zip((name,), shown, strict=False))
    return {f"{name}_{i}": table for i, table in enumerate(shown, start=1)}


def has_values(table: Table) -> bool:
    """Whether there is anything in a table."""
    return any(estimate is not None for row in table.rows for estimate in row.estimates)
