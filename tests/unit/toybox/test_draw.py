"""Pictures: deterministic, at any resolution, and different enough to tell toys apart."""

import hashlib

import numpy as np
import pytest

from repic.toybox.plush import draw_toy
from repic.toybox.scene import PORTRAIT_SIZE, SCENE_SIZE, arrange, ground_truth, portrait
from repic.toybox.world import SLOTS, VALUES, Toy, toys

BEAR = Toy("striped", "red", "bear", "blue", "hat")


def pixels(picture):
    return np.asarray(picture.load(), dtype=int)


def test_the_same_recipe_gives_the_same_pixels():
    first, again = (portrait(BEAR, "a", scale=1.0) for _ in range(2))
    assert first.key == again.key
    assert hashlib.sha256(first.load().tobytes()).digest() == (
        hashlib.sha256(again.load().tobytes()).digest()
    )


def test_two_pictures_of_one_toy_differ():
    first, second = (portrait(BEAR, seed, scale=1.0) for seed in "ab")
    assert first.key != second.key
    assert np.abs(pixels(first) - pixels(second)).mean() > 5


@pytest.mark.parametrize("slot", SLOTS)
def test_every_attribute_shows(slot):
    """Toys that differ in one attribute look different, on the same background in one pose."""
    seen = []
    for value in VALUES[slot]:
        if slot != "accessory_colour" or value != BEAR.colour:
            toy = Toy(**{**BEAR.attributes, slot: value})
            seen.append(np.asarray(draw_toy(toy, 64), dtype=int))
    for i, first in enumerate(seen):
        for second in seen[:i]:
            changed = (np.abs(first - second).max(axis=-1) > 40).mean()
            assert changed > 0.02, (slot, VALUES[slot][i])


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_resolution_changes_nothing_but_the_size(scale):
    picture = portrait(BEAR, "a", scale=scale)
    image = picture.load()
    assert image.size == tuple(round(side * scale) for side in PORTRAIT_SIZE)
    small = np.asarray(image.resize((16, 16)), dtype=int)
    plain = np.asarray(picture.at(1.0).load().resize((16, 16)), dtype=int)
    assert np.abs(small - plain).mean() < 12


@pytest.mark.parametrize("count", range(1, 8))
def test_boxes_hold_the_toys_and_neighbours_stay_recognisable(count):
    cast = list(toys("val")[:count])
    picture, poses = arrange(cast, f"scene {count}", scale=2.0)
    scene = ground_truth(cast, [None] * count, poses, picture)
    assert picture.load().size == (2 * SCENE_SIZE[0], 2 * SCENE_SIZE[1])
    xs = [pose.centre[0] for pose in poses]
    assert xs == sorted(xs)
    boxes = [mention.box for mention in scene.mentions]
    for box in boxes:
        assert -16 <= box.x0 < box.x1 <= 2 * SCENE_SIZE[0] + 16
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            width = min(a.x1, b.x1) - max(a.x0, b.x0)
            height = min(a.y1, b.y1) - max(a.y0, b.y0)
            covered = max(width, 0) * max(height, 0) / ((a.x1 - a.x0) * (a.y1 - a.y0))
            assert covered < 0.35


def test_a_box_is_where_its_toy_was_drawn():
    """Taking one toy out of a scene changes pixels inside its box only."""
    cast = list(toys("val")[:3])
    picture, poses = arrange(cast, "boxes", scale=1.0)
    scene = ground_truth(cast, [None] * 3, poses, picture)
    without = [being for being in picture.beings if being[0] != cast[1]]
    less = type(picture)(picture.size, tuple(without), picture.background, picture.seed, 1.0)
    ys, xs = np.nonzero(np.abs(pixels(picture) - pixels(less)).max(axis=-1) > 24)
    box = scene.mentions[1].box
    assert box.x0 - 6 <= xs.min() <= xs.max() <= box.x1 + 6
    assert box.y0 - 6 <= ys.min() <= ys.max() <= box.y1 + 6


def test_too_many_toys_are_refused():
    with pytest.raises(ValueError, match="1 to 7 toys"):
        arrange(list(toys("val")[:8]), "crowd", scale=1.0)
