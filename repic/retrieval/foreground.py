"""Who stands before a plain backdrop: proposals for drawn scenes, from the pixels alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy import ndimage

from repic.types import Box
from repic.values import PositiveShare

Corners = tuple[int, int, int, int]  # x0, y0, x1, y1; the ends are exclusive

_FLAT = 0.9  # a region of which so much has one colour belongs to the backdrop
_SLACK = 6  # levels of 255 by which a colour may differ from the backdrop's


@dataclass(frozen=True, kw_only=True)
class ForegroundRegions:
    """Boxes of the connected regions that do not have the backdrop's colours.

    The backdrop's colours are those that the picture's frame shows, and those of regions that
    have hardly more than one. A region that is larger than one being may be is worn away pixel by
    pixel until it falls apart, and the parts get back what was taken.

    For flat backdrops, such as the toybox's. A photo has none: there the whole of it is one region.

    Attributes:
        largest: side of the largest being, as a share of the picture's shorter side.
        smallest: area of the smallest region that counts, as a share of that being's square.
        frame: share of the frame that a colour needs to be the backdrop's.
    """

    largest: PositiveShare
    smallest: PositiveShare
    frame: PositiveShare

    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        """Return squares around the regions, from the top; words are of no use here."""
        pixels = np.asarray(picture.convert("RGB"))
        side = self.largest * min(picture.size)
        least = self.smallest * side**2
        mask = foreground(pixels, frame=self.frame, least=least)
        return [
            _square(corners, picture.size)
            for region in regions(mask, least=least)
            for corners in _parts(region, side, least)
        ]


def foreground(
    pixels: UInt8[np.ndarray, "H W 3"], *, frame: float, least: float
) -> Bool[np.ndarray, "H W"]:
    """Mark the pixels that are not the backdrop's.

    Args:
        pixels: the picture.
        frame: share of the frame that a colour needs to be the backdrop's.
        least: regions of fewer pixels are not looked at for further colours.
    """
    edge = np.concatenate([pixels[:2], pixels[-2:]], axis=None).reshape(-1, 3)
    sides = np.concatenate([pixels[:, :2], pixels[:, -2:]], axis=None).reshape(-1, 3)
    colours, counts = np.unique(np.concatenate([edge, sides]), axis=0, return_counts=True)
    mask = ~_alike(pixels, colours[counts >= frame * counts.sum()])
    flat = [
        colour for region in regions(mask, least=least) for colour in _only_colour(pixels[region])
    ]
    return mask & ~_alike(pixels, np.array(flat, dtype=np.uint8).reshape(-1, 3))


def _alike(
    pixels: UInt8[np.ndarray, "H W 3"], colours: UInt8[np.ndarray, "C 3"]
) -> Bool[np.ndarray, "H W"]:
    alike = np.zeros(pixels.shape[:2], dtype=bool)
    for colour in colours.astype(np.int16):
        alike |= (np.abs(pixels - colour) <= _SLACK).all(axis=-1)
    return alike


def _only_colour(pixels: UInt8[np.ndarray, "N 3"]) -> Iterator[UInt8[np.ndarray, " 3"]]:
    """Give the colour of pixels that are nearly all alike."""
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    if counts.max() >= _FLAT * len(pixels):
        yield colours[counts.argmax()]


def _parts(region: Bool[np.ndarray, "H W"], side: float, least: float) -> list[Corners]:
    """Return the corners of a region, or of its parts if it is too large for one being."""
    left, top, right, bottom = bounds(region)
    todo = [(region[top:bottom, left:right], 0)]
    found = []
    while todo:
        part, worn = todo.pop()
        x0, y0, x1, y1 = bounds(part)
        if max(x1 - x0, y1 - y0) + 2 * worn <= side:
            found.append((left + x0 - worn, top + y0 - worn, left + x1 + worn, top + y1 + worn))
            continue
        # What is left of a being shrinks as it is worn, and so does what still counts.
        pieces = regions(eroded(part), least=least / (worn + 2))
        todo += [(piece, worn + 1) for piece in pieces]
    return found or [(left, top, right, bottom)]


def _square(corners: Corners, size: tuple[int, int]) -> Box:
    """Widen a box to a square, so that scaling keeps proportions; stay inside the picture."""
    x0, y0, x1, y1 = corners
    half = max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    width, height = map(float, size)
    return Box(max(0.0, x - half), max(0.0, y - half), min(width, x + half), min(height, y + half))


def regions(mask: Bool[np.ndarray, "H W"], *, least: float) -> list[Bool[np.ndarray, "H W"]]:
    """Return each connected region of ``least`` pixels or more as a mask, from the top.

    Pixels belong together where they share a side.
    """
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
