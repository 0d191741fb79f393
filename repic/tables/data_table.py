"""The table of what was found in a run's data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from repic.tables.table import Column, Row, Table

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
class RoleCheck:
    """The files of one role, such as "query photos".

    Attributes:
        sizes: width and height of every whole picture.
        num_bytes: of those, together.
        missing: files that are not there.
        corrupt: files that cannot be decoded -> what is wrong.
    """

    role: str
    sizes: Sequence[tuple[int, int]]
    num_bytes: int
    missing: Sequence[Path]
    corrupt: Mapping[Path, str]


@dataclass(frozen=True)
class SplitCheck:
    """One split of the data.

    Attributes:
        refused: why it could not be read at all.
        note: what to say of data without files.
        without_info: concepts that nothing is said about.
        impossible: names that the paper's protocol never finds -> the targets that they are.
    """

    split: str
    roles: Sequence[RoleCheck] = ()
    refused: str | None = None
    note: str | None = None
    without_info: Sequence[str] = ()
    num_concepts: int = 0
    impossible: Mapping[str, int] = field(default_factory=dict)
    num_targets: int = 0
    how_to_get: str = ""


@dataclass(frozen=True)
class Duplicates:
    """Pairs of pictures.

    Attributes:
        where: between which files.
        pairs: two files, and how many bits of their hashes differ; None: the same bytes.
    """

    where: str
    pairs: Sequence[tuple[Path, Path, int | None]]


@dataclass(frozen=True)
class DataCheck:
    """All splits; ``near`` is the number of bits up to which two pictures are near duplicates."""

    splits: Sequence[SplitCheck]
    duplicates: Sequence[Duplicates]
    near: int

    def complaint(self) -> str | None:
        """What keeps the data from being used; None if nothing does."""
        roles = [role for split in self.splits for role in split.roles]
        counts = {
            "cannot be read": sum(split.refused is not None for split in self.splits),
            "missing": sum(len(role.missing) for role in roles),
            "corrupt": sum(len(role.corrupt) for role in roles),
        }
        kinds = {"cannot be read": "split", "missing": "file", "corrupt": "file"}
        told = [
            f"{count} {kinds[what]}{'s' * (count > 1)} {what}"
            for what, count in counts.items()
            if count
        ]
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
            count = f"{len(split.without_info)} of {split.num_concepts}"
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
    for role in split.roles:
        if role.missing:
            count = f"{len(role.missing)} {role.role}"
            yield f"{place}: {count} missing:", _cut(map(str, role.missing))
        if role.corrupt:
            yield f"{place}: {len(role.corrupt)} {role.role} corrupt:", _cut(role.corrupt.values())
    if any(role.missing or role.corrupt for role in split.roles):
        yield f"{place}: {split.how_to_get}", []


def _cut(items: Iterable[str]) -> list[str]:
    items = list(items)
    more = len(items) - NUM_LISTED
    return [*islice(items, NUM_LISTED), *([f"and {more} more"] if more > 0 else [])]


def _pair(pair: tuple[Path, Path, int | None]) -> str:
    first, second, bits = pair
    how = "the same bytes" if bits is None else f"{bits} of 64 bits differ"
    return f"{first} and {second}: {how}"


def _rows(check: DataCheck) -> Iterator[Row]:
    for split in check.splits:
        if not split.roles:
            what = "cannot be read" if split.refused is not None else "no files"
            yield Row(split.split, (what, *[""] * (len(COLUMNS) - 1)))
        for role in split.roles:
            found = _numbers(role)
            counts = (found[key] for key in ("expected", "found", "missing", "corrupt"))
            sizes = ("×".join(map(str, found[key] or ())) for key in ("smallest", "largest"))
            yield Row(split.split, (role.role, *counts, found["bytes"] / 1e6, *sizes))


def _numbers(role: RoleCheck) -> dict[str, Any]:
    """Counts, bytes, and the pixel sizes of the pictures with the least and the most pixels."""
    sizes = sorted(role.sizes, key=lambda size: size[0] * size[1])
    found = len(sizes) + len(role.corrupt)
    return {
        "expected": found + len(role.missing),
        "found": found,
        "missing": len(role.missing),
        "corrupt": len(role.corrupt),
        "bytes": role.num_bytes,
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
                "role": role.role,
                **_numbers(role),
                "missing_files": [str(path) for path in role.missing],
                "corrupt_files": {str(path): why for path, why in role.corrupt.items()},
            }
            for role in split.roles
        ],
        "num_concepts": split.num_concepts,
        "without_info": list(split.without_info),
        "num_targets": split.num_targets,
        "impossible_names": dict(split.impossible),
    }
