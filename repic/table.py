"""Tables of saved runs: ``python -m repic.table <folders of runs>``.

Imports what it needs when it is known what is wanted, so that --help answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = parser().parse_args(arguments)
    try:
        make_tables(options)
    except (ValueError, OSError) as error:
        print(f"repic.table: {error}", file=sys.stderr)
        sys.exit(1)


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = argparse.ArgumentParser(
        prog="python -m repic.table",
        description="Compare finished runs in one table; no model is loaded.",
    )
    add = found.add_argument
    add(
        "runs", nargs="+", type=Path, help="folders of runs, or folders that hold some at any depth"
    )
    add(
        "--form",
        default="accuracy",
        help="accuracy: by number of concepts, and CIDEr (default); founding: single concept,"
        " several (3), caption quality; single: accuracy, CIDEr and their mean at 1 concept; multi:"
        " accuracy at 2 to 5; names: precision, recall and F1 by two protocols; all: these, and the"
        " caption metrics",
    )
    add("--out", type=Path, help="a folder to write Markdown, CSV and LaTeX into")
    add(
        "--against",
        metavar="ROW",
        help="a row's label, or a part of it: show every other row's difference from it, with its"
        " interval and p-value",
    )
    add(
        "--orderings",
        choices=("founding",),
        help="judge the orderings of the founding tables on a sweep over the reward",
    )
    add(
        "--weights",
        metavar="PART=NUMBER,…",
        help="add a column with the mean reward under these weights, from the parts that"
        " predictions.jsonl keeps",
    )
    add("--apart", action="store_true", help="a table for each test set, instead of refusing")
    add("--samples", type=int, default=1000, help="of the bootstrap (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    return found


def make_tables(options: argparse.Namespace) -> None:
    """Print what was asked for, and write it if there is a folder for it.

    Raises:
        ValueError: runs cannot be compared, or an option does not fit them.
    """
    from rich.console import Console

    from repic.tables import test_set
    from repic.tables.layouts import refuse_unknown

    refuse_unknown(options.form, "--form")
    if options.samples < 1:
        raise ValueError(f"--samples: {options.samples} is below 1")
    if options.out and options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out}: is a file; tables need a folder")
    console = Console()
    runs = read_runs(options.runs, console)
    if options.apart:
        groups = test_set.apart(runs)
    else:
        test_set.refuse_other_test_sets(runs)
        groups = [runs]
    for number, group in enumerate(groups, start=1):
        folder = options.out
        if len(groups) > 1:
            console.print(
                f"test set {number} of {len(groups)}: {test_set.told_apart(groups, number - 1)}"
            )
            folder = folder and folder / f"test_set_{number}"
        show(group, options, console, folder)


def show(runs: list[Any], options: argparse.Namespace, console: Any, folder: Path | None) -> None:
    """Tables, differences and orderings of runs that can be compared."""
    from repic.tables.write import print_tables, write_tables

    tables, compare = tables_of(runs, options)
    if options.orderings:
        from repic.tables.orderings import founding_orderings, orderings_table

        tables = {"orderings": orderings_table(founding_orderings(runs, compare())), **tables}
    for name, table in tables.items():
        print_tables(table)
        if folder:
            write_tables(folder, name, table)
    if folder:
        print(f"written to {folder}")


def tables_of(
    runs: list[Any], options: argparse.Namespace
) -> tuple[dict[str, Any], Callable[[], Any]]:
    """Tables by the names of their files, and what gives a ``Comparison``, which is heavy."""
    from repic.tables import layouts
    from repic.tables.estimates import CONFIDENCE

    drawn = {"num_samples": options.samples, "confidence": CONFIDENCE, "seed": options.seed}
    weights: dict[str, float] = {}
    conditions: Any = ()
    if options.weights is not None:
        from repic.tables import weighting

        weights = weighting.parse_weights(options.weights)
        conditions = weighting.shared_conditions(runs)
        runs = weighting.with_weighted_rewards(runs, weights, **drawn)
    tables = layouts.tables_of(options.form, runs)
    if weights:
        first = next(iter(tables))
        column, note = weighting.column(weights), weighting.note(weights, conditions)
        tables[first] = layouts.with_column(tables[first], column, note)

    @cache
    def compare() -> Any:
        from repic.tables.paired import Comparison

        return Comparison(
            num_samples=options.samples, seed=options.seed, weights=weights, conditions=conditions
        )

    if options.against is not None:
        from repic.tables.differences import differences

        for name, table in list(tables.items()):
            found = differences(table, options.against, compare())
            if found.has_values:
                tables[f"{name}_against"] = found
    return tables, compare


def read_runs(folders: Sequence[Path], console: Any) -> list[Any]:
    """Every run below the folders, each once; those that evaluated nothing are passed over.

    Raises:
        ValueError: a folder holds no run, or no run was evaluated.
    """
    from repic.tables.runs import find_runs, find_unfinished

    found = {run.folder.resolve(): run for folder in folders for run in find_runs(folder)}
    for folder in find_unfinished(folders):
        console.print(
            f"passed over, as it has not ended (the same command goes on with it): {folder}",
            soft_wrap=True,
        )
    for run in found.values():
        if not run.metrics:
            console.print(f"passed over, as it evaluated nothing: {run.folder}", soft_wrap=True)
    runs = [run for run in found.values() if run.metrics]
    if not runs:
        raise ValueError(f"{folders[0]}: no run there has evaluated anything")
    return runs


if __name__ == "__main__":
    main()
