"""Look at all of a run's data before anything is computed; no model is needed, and none is made."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from rich.console import Console
from rich.progress import track

from repic.data.inspection import (
    Inspection,
    find_duplicates,
    inspect,
)
from repic.data.inventory import QUERY, HasInventory, Inventory
from repic.metrics.paper_names import count_paper_names, paper_pool, variant_for
from repic.tables.data_table import DataCheck, Duplicates, SplitCheck
from repic.toybox.dataset import CaptionDataset
from repic.toybox.mixture import TaskMixture
from repic.toybox.world import SPLITS, names, toys
from repic.types import Examples

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CheckData:
    """Count files, decode pictures, find duplicates, concepts without info and impossible names.

    Attributes:
        near: two pictures whose difference hashes differ in so many of 64 bits, or fewer, are
            near duplicates.
    """

    near: Annotated[int, Ge(0), Le(64)]

    def __call__(self, open_split: Callable[[str], Examples], splits: Sequence[str]) -> DataCheck:
        """Check every split; one that cannot be read does not keep the others from it.

        Args:
            open_split: from a split's name to its dataset; a ``ValueError`` says what is wrong.
            splits: their names.
        """
        checks = []
        for split in splits:
            try:
                dataset = open_split(split)
            except ValueError as error:
                checks.append(SplitCheck(split, refused=str(error)))
                continue
            if isinstance(dataset, HasInventory):
                checks.append(check_files(split, dataset.inventory))
            else:
                checks.append(SplitCheck(split, note=describe_generated(dataset)))
        return DataCheck(checks, list(self.duplicates(checks)), self.near)

    def duplicates(self, checks: Sequence[SplitCheck]) -> Iterator[Duplicates]:
        """Pairs among the queries of a split, and between queries and all that is no query."""
        found = {
            (check.split, role): inspection.pictures
            for check in checks
            for role, inspection in check.found.items()
        }
        for (split, role), pictures in found.items():
            if role == QUERY:
                pairs = find_duplicates(pictures, None, self.near)
                yield Duplicates(f"within {split}'s {role}", pairs)
        for one, other in combinations(found, 2):
            if QUERY in (one[1], other[1]):
                where = f"between {one[0]}'s {one[1]} and {other[0]}'s {other[1]}"
                pairs = find_duplicates(found[one], found[other], self.near)
                yield Duplicates(where, pairs)


def check_files(split: str, inventory: Inventory) -> SplitCheck:
    """Read a split's files."""
    found: dict[str, Inspection] = {}
    for role, paths in inventory.files.items():
        log.info("data.%s: opening %d %s", split, len(paths), role)
        found[role] = inspect(shown(paths, role))
    return SplitCheck(split, inventory, found, impossible_names(inventory.targets))


def shown(paths: Sequence[Path], role: str) -> Iterator[Path]:
    """The same paths, with a bar where somebody sits before a terminal."""
    console = Console(stderr=True)
    yield from track(
        paths, description=role, console=console, transient=True, disable=not console.is_terminal
    )


def impossible_names(targets: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """Return the names that the paper's protocol never finds -> how many targets they are.

    A caption that is the name alone, with its brackets or without, is scored as the paper scores.
    """
    if not targets:
        return {}
    pool = paper_pool(targets, variant_for(targets))
    found: dict[str, int] = {}
    for name in [name for prompt in targets for name in prompt]:
        says = (name, name.strip("<>"))
        if not any(count_paper_names(caption, [name], pool).hits for caption in says):
            found[name] = found.get(name, 0) + 1
    return found


def describe_generated(dataset: Examples) -> str:
    """Say of data without files what it is, and that its splits have nothing in common.

    Raises:
        ValueError: they have.
    """
    if not isinstance(dataset, CaptionDataset | TaskMixture):
        return "generated when needed: there are no files"
    told = []
    for what, listed in (("toys", toys), ("names", names)):
        sets = {split: frozenset(listed(split)) for split in SPLITS}
        for one, other in combinations(SPLITS, 2):
            if common := len(sets[one] & sets[other]):
                raise ValueError(f"toybox: {one} and {other} have {common} {what} in common")
        told.append(f"{' / '.join(str(len(found)) for found in sets.values())} {what}")
    return (
        f"drawn when needed: there are no files. {' / '.join(SPLITS)} have"
        f" {' and '.join(told)}, none in common"
    )
