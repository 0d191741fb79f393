"""Connected regions of a mask, with nothing but NumPy."""

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image, ImageFilter


def label_regions(mask: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Number the regions of a mask: 0 outside, then 1, 2, ... from the top.

    Pixels belong together where they share a side. Rows are cut into runs, and runs of
    neighbouring rows that overlap are joined.
    """
    height, width = mask.shape
    framed = np.zeros((height, width + 2), dtype=np.int8)
    framed[:, 1:-1] = mask
    rows, columns = np.nonzero(np.diff(framed, axis=1))
    runs = list(zip(rows[::2].tolist(), columns[::2].tolist(), columns[1::2].tolist(), strict=True))
    parents = list(range(len(runs)))
    above = 0  # the first run of the row above that may still touch
    for run, (row, first, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] <= first):
            above += 1
        for other in range(above, run):
            if runs[other][0] == row or runs[other][1] >= end:
                break
            _join(parents, other, run)
    labels = np.zeros(mask.shape, dtype=np.int64)
    numbers: dict[int, int] = {}
    for run, (row, first, end) in enumerate(runs):
        labels[row, first:end] = numbers.setdefault(_root(parents, run), len(numbers) + 1)
    return labels


def regions(mask: Bool[np.ndarray, "H W"], *, least: float) -> list[Bool[np.ndarray, "H W"]]:
    """Return each connected region of ``least`` pixels or more as a mask, from the top."""
    labels = label_regions(mask)
    areas = np.bincount(labels.ravel())
    return [labels == number for number in range(1, len(areas)) if areas[number] >= least]


def bounds(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of what is in a mask that is not empty; the ends are exclusive."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def eroded(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Take the outermost pixel off every region; the picture's edge counts as outside."""
    padded = np.pad(mask, 1).astype(np.uint8) * 255
    return (np.asarray(Image.fromarray(padded).filter(ImageFilter.MinFilter(3))) > 0)[1:-1, 1:-1]


def _root(parents: list[int], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


def _join(parents: list[int], one: int, other: int) -> None:
    roots = sorted((_root(parents, one), _root(parents, other)))
    parents[roots[1]] = roots[0]
