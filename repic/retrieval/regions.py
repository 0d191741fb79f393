"""Connected regions of a mask: pixels belong together where they share a side."""

import numpy as np
from jaxtyping import Bool
from scipy import ndimage


def regions(mask: Bool[np.ndarray, "H W"], *, least: float) -> list[Bool[np.ndarray, "H W"]]:
    """Return each connected region of ``least`` pixels or more as a mask, from the top."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, output=labels)
    areas = np.bincount(labels.ravel())
    return [labels == number for number in range(1, len(areas)) if areas[number] >= least]


def bounds(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of what is in a mask that is not empty; the ends are exclusive."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def eroded(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Take the outermost pixel off every region; the picture's edge counts as outside."""
    return ndimage.binary_erosion(mask, structure=np.ones((3, 3)))
