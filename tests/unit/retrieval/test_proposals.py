"""Boxes of drawn scenes against where the toys were drawn, and windows that cover a picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from repic.retrieval.foreground import ForegroundRegions
from repic.retrieval.windows import SlidingWindows
from repic.toybox.dataset import CaptionDataset, SceneRules
from repic.types import Box

REGIONS = ForegroundRegions(largest=0.45, smallest=0.15, frame=0.02)
SHARES = dict.fromkeys(("lookalike", "drop_image", "drop_info", "omit", "swap"), 0.0)
RULES = SceneRules(absent=[1, 1], strangers=[0, 2], **SHARES)


def overlap(one: Box, other: Box) -> float:
    width = max(0.0, min(one.x1, other.x1) - max(one.x0, other.x0))
    height = max(0.0, min(one.y1, other.y1) - max(one.y0, other.y0))
    areas = [(box.x1 - box.x0) * (box.y1 - box.y0) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize(("count", "scale"), [(1, 1.0), (3, 1.0), (5, 1.0), (3, 2.0)])
def test_nearly_every_toy_has_a_box_and_few_boxes_have_no_toy(count: int, scale: float) -> None:
    scenes = CaptionDataset(
        "val", counts=[count], size=8, seed=5, rules=RULES, questions=["?"], scale=scale
    )
    num_toys = num_found = num_wrong = 0
    for scene in scenes:
        assert scene.query is not None
        assert scene.scene is not None
        boxes = REGIONS(scene.query.load(), [])
        toys = [mention.box for mention in scene.scene.mentions if mention.box is not None]
        num_toys += len(toys)
        num_found += sum(any(overlap(toy, box) >= 0.5 for box in boxes) for toy in toys)
        num_wrong += sum(all(overlap(toy, box) < 0.5 for toy in toys) for box in boxes)
    assert num_found >= 0.9 * num_toys
    assert num_wrong <= 0.1 * num_toys


def drawn(*shapes: tuple[int, int, int, int], sun: bool = False) -> Image.Image:
    """A 100 × 100 picture of two flat colours, with chequered squares before it."""
    picture = Image.new("RGB", (100, 100), (200, 220, 240))
    brush = ImageDraw.Draw(picture)
    brush.rectangle((0, 60, 100, 100), fill=(90, 160, 80))
    if sun:
        brush.ellipse((10, 10, 40, 40), fill=(250, 240, 120))
    for x0, y0, x1, y1 in shapes:
        for x in range(x0, x1):
            for y in range(y0, y1):
                picture.putpixel((x, y), (180, 30, 30) if (x // 5 + y // 5) % 2 else (40, 40, 160))
    return picture


def test_a_square_is_found_to_the_pixel_and_a_flat_sun_is_not() -> None:
    assert REGIONS(drawn((30, 45, 60, 75)), []) == [Box(30.0, 45.0, 60.0, 75.0)]
    assert REGIONS(drawn((50, 45, 80, 75), sun=True), []) == [Box(50.0, 45.0, 80.0, 75.0)]
    assert REGIONS(drawn(), []) == []


def test_what_is_not_square_is_widened_and_stays_inside() -> None:
    assert REGIONS(drawn((2, 40, 22, 80)), []) == [Box(0.0, 40.0, 32.0, 80.0)]


def test_two_that_touch_fall_apart() -> None:
    # A bridge of four pixels joins two squares; together they are too large for one.
    picture = drawn((5, 40, 40, 75), (40, 56, 50, 60), (50, 40, 85, 75))
    boxes = sorted(REGIONS(picture, []))
    assert len(boxes) == 2
    for box, square in zip(boxes, [(5, 40, 40, 75), (50, 40, 85, 75)], strict=True):
        assert overlap(box, Box(*map(float, square))) > 0.9


def test_what_cannot_be_taken_apart_is_one_region() -> None:
    assert REGIONS(drawn((10, 10, 90, 90)), []) == [Box(10.0, 10.0, 90.0, 90.0)]


@given(
    st.lists(st.floats(0.15, 1.0), min_size=1, max_size=3),
    st.floats(0.0, 0.8),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_windows_of_each_size_cover_the_picture(
    shares: list[float], overlap: float, width: int, height: int
) -> None:
    windows = SlidingWindows(shares=shares, overlap=overlap)(Image.new("RGB", (width, height)), [])
    for share in set(shares):
        own = [w for w in windows if abs(w.x1 - w.x0 - share * width) < 1e-6]
        for x, y in np.random.default_rng(0).uniform(0, 1, (20, 2)):
            point = (x * width, y * height)
            assert any(
                w.x0 - 1e-6 <= point[0] <= w.x1 + 1e-6 and w.y0 - 1e-6 <= point[1] <= w.y1 + 1e-6
                for w in own
            )
    assert all(w.x0 >= 0 and w.x1 <= width + 1e-6 and w.y1 <= height + 1e-6 for w in windows)


def test_neighbours_share_as_much_as_was_asked_for() -> None:
    windows = SlidingWindows(shares=[0.5], overlap=0.5)(Image.new("RGB", (8, 4)), [])
    assert [w.x0 for w in windows[:3]] == [0.0, 2.0, 4.0]
    assert len(windows) == 9
