"""What each square of a picture is said to show, against the drawing."""

import math
import random

from repic.toybox.cells import CELL_VALUES, ORDER, label_cells
from repic.toybox.draw import Pose
from repic.toybox.scene import ToyboxImage, arrange, ground_truth, portrait
from repic.toybox.world import Toy, toys
from repic.types import Box

BEAR = Toy("striped", "red", "bear", "blue", "hat")
PIG = Toy("plain", "green", "pig", "white", "bow")


def standing(toy: Toy, x: float, y: float) -> tuple[Toy, Pose]:
    """A toy of height 64: what counts of it reaches 0.8 * 32 = 25.6 pixels to every side."""
    return toy, Pose((x, y), 64.0, 0.0, False)


def tens(box: Box | None) -> dict[str, str]:
    """A box as cells say it; what reaches out of the picture begins or ends at its edge."""
    assert box is not None
    words = (str(min(max(math.floor(edge / 10), 0), 25)) for edge in box)
    return dict(zip(("x0", "y0", "x1", "y1"), words, strict=True))


def test_edges_by_hand():
    """Around (100, 61), 64 high: x from 68 to 132, y from 29 to 93. At the edge: from 0."""
    for x, edges in ((100.0, ("6", "2", "13", "9")), (20.0, ("0", "2", "5", "9"))):
        scene = ToyboxImage((256, 160), (standing(BEAR, x, 61.0),), "beach", "x", 1.0)
        cells = [cell for cell in label_cells(scene, 5, 8) if cell and "x0" in cell]
        assert cells
        for cell in cells:
            assert tuple(cell[edge] for edge in ("x0", "y0", "x1", "y1")) == edges


def test_cells_by_hand():
    """Around (64, 64) it covers (25.6 / 32)² = 64 % of four cells, and nothing of any other."""
    picture = ToyboxImage((160, 128), (standing(BEAR, 64.0, 64.0),), "beach", "x", 1.0)
    empty = {"background": "beach"}
    row = [empty, BEAR.attributes, BEAR.attributes, empty, empty]
    assert label_cells(picture, 4, 5) == [*[empty] * 5, *row, *row, *[empty] * 5]


def test_a_cell_that_shows_a_toys_edge_is_not_labelled():
    """Around (32, 76) it reaches up to y = 50.4: 13.6 of the second row's 32 pixels.

    Across it covers 25.6 of 32, so 34 % of the second row's cells, and 80 % of the third row's;
    of the fourth row, which begins at 96, 5.6 of 32, so 14 %.
    """
    picture = ToyboxImage((64, 128), (standing(BEAR, 32.0, 76.0),), "room", "x", 1.0)
    empty = {"background": "room"}
    bear = BEAR.attributes
    assert label_cells(picture, 4, 2) == [empty, empty, None, None, bear, bear, None, None]


def test_the_one_in_front_counts():
    both = (standing(BEAR, 48.0, 48.0), standing(PIG, 48.0, 48.0))
    picture = ToyboxImage((96, 96), both, "street", "x", 1.0)
    assert label_cells(picture, 3, 3)[4] == PIG.attributes


def test_every_toy_of_a_scene_and_a_portrait_is_seen_and_nothing_else():
    rng = random.Random(0)
    for i in range(60):
        cast = rng.sample(toys("val"), rng.randint(1, 7))
        picture, poses = arrange(cast, f"{i}", scale=1.0)
        truth = ground_truth(cast, [None] * len(cast), poses, picture)
        cells = [cell for cell in label_cells(picture, 5, 8) if cell is not None]
        seen = {tuple(sorted(cell.items())) for cell in cells if "species" in cell}
        assert seen == {
            tuple(sorted({**m.attributes, "order": ORDER[place], **tens(m.box)}.items()))
            for place, m in enumerate(truth.mentions)
        }
        assert all(word in CELL_VALUES[slot] for cell in cells for slot, word in cell.items())
        single = label_cells(portrait(cast[0], f"{i}", scale=1.0), 2, 2)
        assert any(cell == cast[0].attributes for cell in single)
