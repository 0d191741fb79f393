"""Are the pictures whole, and is any of them twice there? Reads every file of a dataset.

Two files with the same bytes are exact duplicates. Near duplicates are found by a difference hash:
the picture is shrunk to 9 × 8 grey pixels, and each of the 64 bits says whether a pixel is darker
than its right neighbour. Two shots, or two crops, of one subject differ in many bits; a copy that
was scaled, recompressed or retouched differs in few. Where large parts are of one colour, as in
drawings on white, most bits say little, and different pictures may pass for near duplicates.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .images import FileImage

HASH_SIDE = 8  # 8 rows of 8 comparisons


@dataclass(frozen=True)
class Picture:
    """A file that could be opened and decoded.

    Attributes:
        num_bytes: on the disk.
        size: width and height in pixels, upright.
        digest: SHA-256 of the file.
        bits: the difference hash.
    """

    path: Path
    num_bytes: int
    size: tuple[int, int]
    digest: str
    bits: int


class Pair(NamedTuple):
    """Two files with the same or nearly the same picture; ``bits`` is None for the same bytes."""

    first: Path
    second: Path
    bits: int | None


@dataclass(frozen=True)
class Inspection:
    """What was found in place of the files of one role.

    Attributes:
        pictures: those that are there and whole.
        missing: those that are not there.
        corrupt: those that cannot be decoded -> what is wrong.
    """

    pictures: Sequence[Picture]
    missing: Sequence[Path]
    corrupt: Mapping[Path, str]


def inspect(paths: Iterable[Path]) -> Inspection:
    """Open and decode every file, whatever the others are like."""
    pictures: list[Picture] = []
    missing: list[Path] = []
    corrupt: dict[Path, str] = {}
    for path in paths:
        if not path.is_file():
            missing.append(path)
            continue
        try:
            pictures.append(read_picture(path))
        except (ValueError, OSError) as error:
            corrupt[path] = str(error)
    return Inspection(pictures, missing, corrupt)


def read_picture(path: Path) -> Picture:
    """Decode one file; ``ValueError`` or ``OSError`` says what is wrong with it."""
    picture = FileImage(path).load()
    content = path.read_bytes()
    return Picture(
        path=path,
        num_bytes=len(content),
        size=picture.size,
        digest=hashlib.sha256(content).hexdigest(),
        bits=difference_hash(picture),
    )


def difference_hash(picture: Image.Image) -> int:
    """Return 64 bits, row by row: whether a pixel is darker than its right neighbour.

    Example:
        >>> light_to_the_right = Image.linear_gradient("L").rotate(90)
        >>> difference_hash(light_to_the_right) == 2**64 - 1
        True
    """
    small = picture.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.int16)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def find_duplicates(
    pictures: Sequence[Picture], others: Sequence[Picture] | None, near: int
) -> list[Pair]:
    """Return pairs of duplicates, exact ones first, then by the bits that differ.

    Args:
        pictures: one side.
        others: the other side, where a file itself is no pair; None: ``pictures`` once more.
        near: up to how many bits may differ.
    """
    pool = pictures if others is None else others
    there = np.array([picture.bits for picture in pool], dtype=np.uint64)
    found = []
    for i, picture in enumerate(pictures):
        distances = np.bitwise_count(np.uint64(picture.bits) ^ there)
        # Equal files have equal bits, so they are among the near ones.
        for j in np.flatnonzero(distances <= near).tolist():
            other = pool[j]
            if (others is None and j <= i) or picture.path == other.path:
                continue
            bits = None if picture.digest == other.digest else int(distances[j])
            found.append(Pair(picture.path, other.path, bits))
    return sorted(found, key=lambda pair: -1 if pair.bits is None else pair.bits)
