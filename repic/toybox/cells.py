"""What each square of a picture shows: the densest account of it that there is.

A vision tower gives one feature for each square of a grid. A caption says a few words about a whole
picture; this says of every square which toy stands there and what it is like.
"""

from collections.abc import Mapping

from repic.toybox.grammar import PLACES
from repic.toybox.scene import SCENE_SIZE, ToyboxImage, pose_box, position_word
from repic.toybox.world import BACKGROUNDS, VALUES

# In scenes a toy's place counts as well: the third of the picture, and how many stand left of it.
ORDER = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
SLOT_VALUES: Mapping[str, tuple[str, ...]] = {
    **VALUES,
    "background": BACKGROUNDS,
    "position": tuple(PLACES),
    "order": ORDER,
}
# Where a toy's box begins and ends, in tens of pixels; a toy that stands at the edge may reach out.
EDGES = ("x0", "y0", "x1", "y1")
TENS = tuple(str(ten) for ten in range(max(SCENE_SIZE) // 10 + 1))
CELL_VALUES: Mapping[str, tuple[str, ...]] = {**SLOT_VALUES, **dict.fromkeys(EDGES, TENS)}

BODY = 0.8  # share of a toy's square, from its centre, that is drawn on in every pose
COVERED, FREE = 0.35, 0.05  # share of a cell from which it shows a toy, up to which it shows none


def label_cells(image: ToyboxImage, rows: int, columns: int) -> list[Mapping[str, str] | None]:
    """Say what stands in every cell of a grid over a picture.

    Returns:
        Cell by cell, row after row: a toy's attributes by slot, and in a scene its place;
        ``{"background": ...}`` where no toy is; None where a toy's edge is, which is neither.
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
    # From back to front: of two that cover a cell equally, the later wins.
    for i, (_, pose) in enumerate(image.beings):
        reach = BODY * pose.height / 2
        x, y = pose.centre
        across = min(x + reach, left + width) - max(x - reach, left)
        down = min(y + reach, top + height) - max(y - reach, top)
        share = max(across, 0) * max(down, 0) / (width * height)
        if share >= most:
            shown, most = i, share
    if shown is None or most <= FREE:
        return {"background": image.background}
    return _describe(image, shown) if most >= COVERED else None


def _describe(image: ToyboxImage, which: int) -> Mapping[str, str]:
    toy, pose = image.beings[which]
    if image.size != SCENE_SIZE:
        return toy.attributes
    x = pose.centre[0]
    before = sum(other.centre[0] < x for _, other in image.beings)
    box = pose_box(pose, 1.0)
    edges = {edge: TENS[min(max(getattr(box, edge) // 10, 0), len(TENS) - 1)] for edge in EDGES}
    return {**toy.attributes, "position": position_word(x), "order": ORDER[before], **edges}
