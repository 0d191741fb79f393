"""The table of what was found in a run's data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from repic.data.inspection import Inspection, Pair
from repic.data.inventory import Inventory
from repic.tables.table import Column, Row, Table
from repic.words import counted

TITLE = "Data"
COLUMNS = (
    Column("files", kind="text"),
    Column("expected", kind="number"),
    Column("found", kind="number"),
    Column("missing", kind="number", is_alarm=True),
    Column("corrupt", kind="number", is_alarm=True),
    Column("MB", kind="number"),
    Column("smallest", kind="number"),
    Column("largest", kind="number"),
)
NUM_LISTED = 20  # of every list; check.json has all


@dataclass(frozen=True)
class SplitCheck:
    """One split of the data.

    Attributes:
        inventory: what it needs; nothing where it has no files, or could not be read.
        found: role of the inventory, such as "query photos" -> what is in place of its files.
        impossible: names that the paper's protocol never finds -> the targets that they are.
        refused: why it could not be read at all.
        note: what to say of data without files.
    """

    split: str
    inventory: Inventory = field(default_factory=lambda: Inventory({}, {}, (), ""))
    found: Mapping[str, Inspection] = field(default_factory=dict)
    impossible: Mapping[str, int] = field(default_factory=dict)
    refused: str | None = None
    note: str | None = None

    @property
    def without_info(self) -> list[str]:
        """Concepts that nothing is said about."""
        return [name for name, info in self.inventory.infos.items() if info is None]

    @property
    def num_targets(self) -> int:
        return sum(map(len, self.inventory.targets))


@dataclass(frozen=True)
class Duplicates:
    """Pairs of pictures; ``where`` says between which files."""

    where: str
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class DataCheck:
    """All splits; ``near`` is the number of bits up to which two pictures are near duplicates."""

    splits: Sequence[SplitCheck]
    duplicates: Sequence[Duplicates]
    near: int

    def complaint(self) -> str | None:
        """What keeps the data from being used; None if nothing does."""
        found = [inspection for split in self.splits for inspection in split.found.values()]
        counts = {
            "cannot be read": sum(split.refused is not None for split in self.splits),
            "missing": sum(len(role.missing) for role in found),
            "corrupt": sum(len(role.corrupt) for role in found),
        }
        kinds = {"cannot be read": "split", "missing": "file", "corrupt": "file"}
        told = [f"{counted(n, kinds[what])} {what}" for what, n in counts.items() if n]
        return ", ".join(told) or None


def data_table(check: DataCheck) -> Table:
    """A row for each role of each split; below it what is no number, in JSON all of it in full."""
    return Table(
        TITLE,
        COLUMNS,
        list(_rows(check)),
        row_column=Column("split", kind="text"),
        lists=list(notes(check)),
        details=_details(check),
    )


def notes(check: DataCheck) -> Iterator[tuple[str, list[str]]]:
    """Yield a sentence and the list that belongs to it, cut after ``NUM_LISTED``."""
    for split in check.splits:
        place = f"data.{split.split}"
        if split.refused is not None:
            told = split.refused
            yield told if told.startswith(place) else f"{place}: {told}", []
        if split.note is not None:
            yield f"{place}: {split.note}.", []
        yield from _file_notes(place, split)
        if split.without_info:
            count = f"{len(split.without_info)} of {len(split.inventory.infos)}"
            yield f"{place}: {count} concepts have no info:", _cut(split.without_info)
        if split.impossible:
            count = f"{sum(split.impossible.values())} of {split.num_targets}"
            names = [f"{name}: {number}" for name, number in split.impossible.items()]
            yield f"{place}: the paper's protocol can never find {count} targets:", _cut(names)
    for found in check.duplicates:
        exact = sum(bits is None for _, _, bits in found.pairs)
        near = len(found.pairs) - exact
        told = f"{exact} exact and {near} near duplicates (up to {check.near} of 64 bits)"
        yield f"{told} {found.where}{':' * bool(found.pairs)}", _cut(map(_pair, found.pairs))


def _details(check: DataCheck) -> dict[str, Any]:
    duplicates = [
        {
            "where": found.where,
            "pairs": [
                {"first": str(first), "second": str(second), "bits": bits}
                for first, second, bits in found.pairs
            ],
        }
        for found in check.duplicates
    ]
    return {
        "complaint": check.complaint(),
        "splits": [_split(split) for split in check.splits],
        "near_bits": check.near,
        "duplicates": duplicates,
    }


def _file_notes(place: str, split: SplitCheck) -> Iterator[tuple[str, list[str]]]:
    for role, found in split.found.items():
        if found.missing:
            yield f"{place}: {len(found.missing)} {role} missing:", _cut(map(str, found.missing))
        if found.corrupt:
            yield f"{place}: {len(found.corrupt)} {role} corrupt:", _cut(found.corrupt.values())
    if any(found.missing or found.corrupt for found in split.found.values()):
        yield f"{place}: {split.inventory.how_to_get}", []


def _cut(items: Iterable[str]) -> list[str]:
    items = list(items)
    more = len(items) - NUM_LISTED
    return [*islice(items, NUM_LISTED), *([f"and {more} more"] if more > 0 else [])]


def _pair(pair: Pair) -> str:
    how = "the same bytes" if pair.bits is None else f"{pair.bits} of 64 bits differ"
    return f"{pair.first} and {pair.second}: {how}"


def _rows(check: DataCheck) -> Iterator[Row]:
    for split in check.splits:
        if not split.found:
            what = "cannot be read" if split.refused is not None else "no files"
            yield Row(split.split, (what, *[""] * (len(COLUMNS) - 1)))
        for role, inspection in split.found.items():
            found = _numbers(inspection)
            counts = (found[key] for key in ("expected", "found", "missing", "corrupt"))
            sizes = ("×".join(map(str, found[key] or ())) for key in ("smallest", "largest"))
            yield Row(split.split, (role, *counts, found["bytes"] / 1e6, *sizes))


def _numbers(inspection: Inspection) -> dict[str, Any]:
    """Counts, bytes, and the pixel sizes of the pictures with the least and the most pixels."""
    pictures = inspection.pictures
    sizes = sorted((p.size for p in pictures), key=lambda size: size[0] * size[1])
    found = len(pictures) + len(inspection.corrupt)
    return {
        "expected": found + len(inspection.missing),
        "found": found,
        "missing": len(inspection.missing),
        "corrupt": len(inspection.corrupt),
        "bytes": sum(picture.num_bytes for picture in pictures),
        "smallest": list(sizes[0]) if sizes else None,
        "largest": list(sizes[-1]) if sizes else None,
    }


def _split(split: SplitCheck) -> dict[str, Any]:
    return {
        "split": split.split,
        "refused": split.refused,
        "note": split.note,
        "roles": [
            {
                "role": role,
                **_numbers(found),
                "missing_files": [str(path) for path in found.missing],
                "corrupt_files": {str(path): why for path, why in found.corrupt.items()},
            }
            for role, found in split.found.items()
        ],
        "num_concepts": len(split.inventory.infos),
        "without_info": split.without_info,
        "num_targets": split.num_targets,
        "impossible_names": dict(split.impossible),
    }
