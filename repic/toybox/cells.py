"""What each square of a picture shows: the densest account of it that there is.

A vision tower gives one feature for each square of a grid. A caption says a few words about a whole
picture; this says of every square which toy stands there and what it is like.
"""

from collections.abc import Mapping

from repic.toybox.scene import ToyboxImage
from repic.toybox.world import BACKGROUNDS, VALUES

SLOT_VALUES: Mapping[str, tuple[str, ...]] = {**VALUES, "background": BACKGROUNDS}

BODY = 0.8  # share of a toy's square, from its centre, that is drawn on in every pose
COVERED, FREE = 0.35, 0.05  # share of a cell from which it shows a toy, up to which it shows none


def label_cells(image: ToyboxImage, rows: int, columns: int) -> list[Mapping[str, str] | None]:
    """Say what stands in every cell of a grid over a picture.

    Returns:
        Cell by cell, row after row: a toy's attributes by slot; ``{"background": ...}`` where no
        toy is; None where a toy's edge is, which is neither.
    """
    width, height = image.size[0] / columns, image.size[1] / rows
    return [
        _label(image, column * width, row * height, width, height)
        for row in range(rows)
        for column in range(columns)
    ]


def _label(
    image: ToyboxImage, left: float, top: float, width: float, height: float
) -> Mapping[str, str] | None:
    shown, most = None, 0.0
    for toy, pose in image.beings:  # from back to front: of two that cover equally the later wins
        reach = BODY * pose.height / 2
        x, y = pose.centre
        across = min(x + reach, left + width) - max(x - reach, left)
        down = min(y + reach, top + height) - max(y - reach, top)
        share = max(across, 0) * max(down, 0) / (width * height)
        if share >= most:
            shown, most = toy, share
    if shown is None or most <= FREE:
        return {"background": image.background}
    return shown.attributes if most >= COVERED else None
