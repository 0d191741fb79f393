"""Tables of saved runs: ``python -m repic.table <folders of runs>``.

Imports what it needs when it is known what is wanted, so that --help answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repic.errors import plainly, tell


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = parser().parse_args(arguments)
    try:
        make_tables(options)
    except Exception as error:
        sys.exit(tell("repic.table", error, told=plainly, program="repic.table"))


def place(text: str) -> Path:
    """A path that is said; an empty one would be the command's own folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = argparse.ArgumentParser(
        prog="python -m repic.table",
        description="Compare finished runs in one table; no model is loaded.",
    )
    add = found.add_argument
    add(
        "runs",
        nargs="+",
        type=place,
        help="folders of runs, or folders that hold some at any depth",
    )
    add(
        "--form",
        default="accuracy",
        help="accuracy: by number of concepts, and CIDEr (default); founding: single concept,"
        " several (3), caption quality; single: accuracy, CIDEr and their mean at 1 concept; multi:"
        " accuracy at 2 to 5; names: precision, recall and F1 by two protocols; clips: the same by"
        " clip and by frame; recognition, questions: answers about friends; costs: of a friend, to"
        " systems that learn one; all: these, and the caption metrics",
    )
    add("--out", type=place, help="a folder to write Markdown, CSV and LaTeX into")
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
    from repic.tables.layouts import refuse_unknown
    from repic.tables.runs import evaluated_runs
    from repic.tables.test_set import apart, refuse_other_test_sets, told_apart
    from repic.tables.write import print_tables, write_tables

    refuse_unknown(options.form, "--form")
    for option, least, most in (("samples", 1, 10**6), ("seed", 0, 2**32 - 1)):
        if not least <= (given := getattr(options, option)) <= most:
            raise ValueError(f"--{option}: {given} is not a number from {least} to {most}")
    if options.out and options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out}: is a file; tables need a folder")
    runs, passed_over = evaluated_runs(options.runs)
    print(*passed_over, sep="\n", end="\n" * bool(passed_over))
    if not options.apart:
        refuse_other_test_sets(runs)
    groups = apart(runs) if options.apart else [runs]
    for number, group in enumerate(groups, start=1):
        folder = options.out
        if len(groups) > 1:
            print(f"test set {number} of {len(groups)}: {told_apart(groups, number - 1)}")
            folder = folder and folder / f"test_set_{number}"
        tables = tables_of(group, options)
        print_tables(*tables.values())
        if folder:
            for name, table in tables.items():
                write_tables(folder, name, table)
            print(f"written to {folder}")


def tables_of(runs: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for of runs that can be compared, by the names of the tables' files."""
    from repic.tables import layouts, weighting
    from repic.tables.differences import differences
    from repic.tables.estimates import CONFIDENCE
    from repic.tables.orderings import founding_orderings, orderings_table
    from repic.tables.paired import Comparison

    draws = {"num_samples": options.samples, "seed": options.seed}
    weights: dict[str, float] = {}
    conditions: Any = ()
    if options.weights is not None:
        weights = weighting.parse_weights(options.weights)
        conditions = weighting.shared_conditions(runs)
        runs = weighting.with_weighted_rewards(runs, weights, confidence=CONFIDENCE, **draws)
    tables = layouts.tables_of(options.form, runs)
    if weights:
        of_captions = [n for n, t in tables.items() if all(c.is_of_captions for c in t.columns)]
        if not of_captions:
            told = f"--form {options.form} shows nothing of captions, which rewards are of"
            raise ValueError(f"--weights: {told}; choose another form")
        first = of_captions[0]
        column, note = weighting.column(weights), weighting.note(weights, conditions)
        tables[first] = layouts.with_column(tables[first], column, note)
    comparison = Comparison(**draws, weights=weights, conditions=conditions)
    if options.against is not None:
        # Not all have captioned and answered; where nobody is called so, it is told of the first.
        have = [n for n, t in tables.items() if any(options.against in r.label for r in t.rows)]
        for name in have or list(tables)[:1]:
            found = differences(tables[name], options.against, comparison)
            if found.has_values:
                tables[f"{name}_against"] = found
    if options.orderings:
        found = orderings_table(founding_orderings(runs, comparison))
        return {"orderings": found, **tables}
    return tables


if __name__ == "__main__":
    main()
