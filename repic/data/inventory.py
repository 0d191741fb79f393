"""Which files a dataset reads, whether they are there, and what to do where they are not."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from repic.values import Missing

log = logging.getLogger(__name__)

LEAVE = "data.leave_root=true"
DATABASE, REFERENCE, QUERY = "database pictures", "reference pictures", "query photos"
LEARNT = "photos to learn from"
Row = TypeVar("Row")
SHOWN = 3  # missing files that an error names; check_data lists more


@dataclass(frozen=True)
class Inventory:
    """What a dataset needs, whether it is at hand or not.

    Attributes:
        files: role (``DATABASE``, ``REFERENCE``, ``QUERY``, ``LEARNT``) -> the files of that role,
            each once.
        infos: name -> what is said about the concept; None: nothing.
        targets: for every prompt the names that a caption should use.
        how_to_get: what to download and where to put it.
    """

    files: Mapping[str, tuple[Path, ...]]
    infos: Mapping[str, str | None]
    targets: Sequence[tuple[str, ...]]
    how_to_get: str

    def missing(self) -> dict[str, list[Path]]:
        """Return the files of each role that are not there."""
        return {
            role: [path for path in paths if not path.is_file()]
            for role, paths in self.files.items()
        }

    def at_hand(
        self,
        name: str,
        rows: Sequence[Row],
        files_of: Callable[[Row], Iterable[Path]],
        missing: Missing,
    ) -> tuple[list[Row], frozenset[Path]]:
        """Return the rows whose files are all there, and the files that are not.

        Args:
            name: of the data, for the log.
            rows: what a dataset would ask about.
            files_of: a row -> the files that it needs.
            missing: ``refuse`` or ``skip``.

        Raises:
            ValueError: a file is missing and ``missing`` is ``refuse``.
        """
        by_role = self.missing()
        gone = [path for paths in by_role.values() for path in paths]
        if gone and missing == "refuse":
            counts = ", ".join(
                f"{len(by_role[role])} of {len(paths)} {role}" for role, paths in self.files.items()
            )
            named = ", ".join(map(str, gone[:SHOWN]))
            more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
            raise ValueError(
                f"data: files are missing ({counts}): {named}{more}. Put them there, or take"
                " data.missing=skip to go without; +experiment=check_data lists them.\n"
                f"{self.how_to_get}"
            )
        absent = frozenset(gone)
        kept = [row for row in rows if absent.isdisjoint(files_of(row))]
        if len(kept) < len(rows):
            tell_left_out(name, len(rows) - len(kept), len(rows))
        return kept, absent


@runtime_checkable
class HasInventory(Protocol):
    """A dataset that reads files."""

    @property
    def inventory(self) -> Inventory: ...


def data_root(root: str | Path | None, how_to_get: str) -> Path:
    """The folder that holds the data, or a ``ValueError`` that says how to get it."""
    if not root or not Path(root).is_dir():
        problem = f"there is no folder {root}" if root else "no folder is set"
        raise ValueError(f"data.root: {problem}. {how_to_get}")
    return Path(root)


@contextlib.contextmanager
def telling(how_to_get: str) -> Iterator[None]:
    """Add to what is wrong with a file how to get a good one."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}\n{how_to_get}") from error


def once(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return every path once, in the order of first occurrence."""
    return tuple(dict.fromkeys(paths))


@cache  # a run opens its data for each number of concepts, and says this once
def tell_left_out(name: str, num_left_out: int, num_prompts: int) -> None:
    """Log that prompts are left out because their files are missing."""
    log.warning(
        "data: %d of %d prompts of %s are left out, because files are missing"
        " (data.missing=skip; +experiment=check_data lists them)",
        num_left_out,
        num_prompts,
        name,
    )


def tell_other_counts(examples: object, key: str, counts: Collection[int]) -> None:
    """Log how many photos of a data set show other numbers of names than are wanted.

    Args:
        examples: the data set; of one that reads no files nothing is said.
        key: the setting that says which are wanted.
        counts: those.
    """
    if isinstance(examples, HasInventory):
        numbers = [len(names) for names in examples.inventory.targets]
        if others := [number for number in numbers if number not in counts]:
            shown = ", ".join(map(str, sorted(set(others))))
            wanted = ", ".join(map(str, sorted(set(counts))))
            log.warning(
                "%s: %d of %d photos are left out, as the number of those in them (%s) is not %s",
                key, len(others), len(numbers), shown, wanted,
            )  # fmt: skip


def tell_shared_photos(learnt: object, asked: object) -> None:
    """Log how many photos two data sets have in common, of which one is for training."""
    if isinstance(learnt, HasInventory) and isinstance(asked, HasInventory):
        trained, scored = (
            {path.resolve(): path for path in examples.inventory.files.get(QUERY, ())}
            for examples in (learnt, asked)
        )
        if shared := [path for place, path in scored.items() if place in trained]:
            log.warning(
                "data.train and data.test have %d of %d photos in common, as %s: scores on those"
                " say nothing of photos that were not learnt from",
                len(shared), len(scored), shared[0],
            )  # fmt: skip
