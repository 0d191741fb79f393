"""What was found in a run's data: for the terminal, as Markdown and JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import rich.box
import rich.table
from rich.text import Text

from repic.tables.write import write_text

TITLE = "Data"
COLUMNS = ("split", "files", "expected", "found", "missing", "corrupt", "MB", "smallest", "largest")
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


def terminal(check: DataCheck) -> rich.table.Table:
    """For ``rich.console.Console().print``; ``notes`` has what is no number."""
    out = rich.table.Table(title=TITLE, box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(COLUMNS):
        out.add_column(column, justify="right" if number > 1 else "left")
    for cells in _rows(check):
        bad = any(cell not in ("0", "") for cell in cells[4:6])
        out.add_row(*cells[:4], *(Text(cell, "bold red" * bad) for cell in cells[4:6]), *cells[6:])
    return out


def markdown(check: DataCheck) -> str:
    """A pipe table, and the notes as lists."""
    lines = [_pipes(COLUMNS), _pipes([":--"] * 2 + ["--:"] * (len(COLUMNS) - 2))]
    lines += [_pipes(cells) for cells in _rows(check)]
    text = f"**{TITLE}**\n\n" + "\n".join(lines) + "\n"
    for title, items in notes(check):
        text += f"\n{title}\n" + "".join(f"- {item}\n" for item in items)
    return text


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


def json_text(check: DataCheck) -> str:
    """Everything, in full."""
    content = {
        "complaint": check.complaint(),
        "splits": [_split(split) for split in check.splits],
        "near_bits": check.near,
        "duplicates": [
            {
                "where": found.where,
                "pairs": [
                    {"first": str(first), "second": str(second), "bits": bits}
                    for first, second, bits in found.pairs
                ],
            }
            for found in check.duplicates
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_check(folder: Path, check: DataCheck) -> list[Path]:
    """Write ``check.md`` and ``check.json`` into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, write in {".md": markdown, ".json": json_text}.items():
        paths.append(folder / f"check{suffix}")
        write_text(paths[-1], write(check))
    return paths


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


def _rows(check: DataCheck) -> Iterator[list[str]]:
    for split in check.splits:
        if not split.roles:
            what = "cannot be read" if split.refused is not None else "no files"
            yield [split.split, what, *[""] * (len(COLUMNS) - 2)]
        for role in split.roles:
            numbers = _numbers(role)
            smallest, largest = (
                "×".join(map(str, numbers[key])) if numbers[key] else ""
                for key in ("smallest", "largest")
            )
            counts = (str(numbers[key]) for key in ("expected", "found", "missing", "corrupt"))
            size = f"{numbers['bytes'] / 1e6:.1f}"
            yield [split.split, role.role, *counts, size, smallest, largest]


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


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
