"""Write one page over several runs: ``python -m repic.report outputs/kl --out page.html``.

Stands above the other layers, as ``repic.bench`` does: a run's data are made again the way the run
made them.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from repic.assembly import UntrustedError, saved_examples
from repic.errors import plainly, tell
from repic.page.runs_page import write_runs_page
from repic.tables.runs import evaluated_runs
from repic.words import counted

# Toybox's scenes are then 320 pixels wide, as the page shows them.
SCALE = 1.25


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="repic.report", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page")
    parser.add_argument("--items", type=int, default=1000, help="scenes to show at most")
    parser.add_argument(
        "--no-pictures", action="store_true", help="captions alone; makes nothing from config.yaml"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="CLASS",
        help="a class that runs' data may be made by although it is not repic's, as config.yaml"
        " names it; may be given several times",
    )
    return parser.parse_args(arguments)


def write(arguments: argparse.Namespace) -> str:
    """Write the page; return a line on it."""
    begun = time.perf_counter()
    if arguments.items < 0:
        raise ValueError(f"--items {arguments.items}: use 0 for no scenes, or more")
    if not arguments.out.absolute().parent.is_dir():
        raise ValueError(f"--out {arguments.out}: there is no folder {arguments.out.parent}")
    if arguments.out.is_dir():
        raise ValueError(
            f"--out {arguments.out}: is a folder; name a file, as in {arguments.out}/page.html"
        )
    made = partial(saved_examples, scale=SCALE, trusted=arguments.trust)
    remake = None if arguments.no_pictures else made
    runs, passed_over = evaluated_runs(arguments.runs)
    print(*passed_over, sep="\n", end="\n" * bool(passed_over), file=sys.stderr)
    holds = write_runs_page(arguments.out, runs, remake=remake, num_items=arguments.items)
    size = arguments.out.stat().st_size / 1e6
    return (
        f"{arguments.out}: {counted(holds.num_runs, 'run')}, {counted(holds.num_methods, 'model')},"
        f" {counted(holds.num_scenes, 'scene')} ({holds.num_pictures} with pictures),"
        f" {size:.1f} MB, {time.perf_counter() - begun:.0f} s"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    sys.path.append(str(Path.cwd()))  # where data classes that are trusted may lie
    try:
        print(write(parse(sys.argv[1:] if arguments is None else arguments)))
    except Exception as error:
        return tell("repic.report", error, UntrustedError, told=plainly, program="repic.report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
