"""Draw pictures of toys before a background, at any resolution.

Pose, size, light and background vary between two pictures of one toy; its attributes never do.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance

from repic.toybox.plush import CREAM, RGB, draw_toy
from repic.toybox.world import Toy

# (above the horizon, below it)
GROUND: dict[str, tuple[RGB, RGB]] = {
    "meadow": ((186, 224, 246), (160, 208, 136)),
    "beach": ((150, 210, 240), (240, 222, 176)),
    "room": ((238, 224, 206), (198, 160, 124)),
    "street": ((206, 212, 222), (150, 152, 160)),
}


@dataclass(frozen=True)
class Pose:
    """How one toy appears in one picture; ``height`` and the centre are in pixels at scale 1."""

    centre: tuple[float, float]
    height: float
    tilt: float  # degrees
    mirrored: bool


def _backdrop(size: tuple[int, int], background: str, rng: random.Random) -> Image.Image:
    width, height = size
    above, below = GROUND[background]
    image = Image.new("RGB", size, above)
    draw = ImageDraw.Draw(image)
    horizon = height * rng.uniform(0.38, 0.5)
    draw.rectangle((0, horizon, width, height), fill=below)
    unit = height / 10
    x = rng.uniform(0, width)
    if background == "meadow":
        draw.ellipse((x - unit, unit * 0.4, x + unit, unit * 2.4), fill=(255, 240, 170))
        for _ in range(5):
            fx, fy = rng.uniform(0, width), rng.uniform(horizon + unit, height)
            draw.ellipse((fx - unit / 6, fy - unit / 6, fx + unit / 6, fy + unit / 6), fill=CREAM)
    elif background == "beach":
        draw.rectangle((0, horizon - unit * 1.2, width, horizon), fill=(86, 160, 210))
    elif background == "room":
        draw.rectangle((x - unit * 1.5, unit * 0.6, x + unit * 1.5, unit * 3), fill=(214, 236, 246))
        draw.line((x, unit * 0.6, x, unit * 3), fill=CREAM, width=max(1, round(unit / 5)))
    else:
        for i in range(-1, 8):
            left = i * width / 7 + x / 7
            top = unit * rng.uniform(0.5, 2.2)
            draw.rectangle((left, top, left + width / 8, horizon), fill=(176, 170, 184))
    return image


def _light(image: Image.Image, rng: random.Random) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.88, 1.08))
    return ImageEnhance.Contrast(image).enhance(rng.uniform(0.92, 1.08))


def draw_picture(
    size: tuple[int, int],
    beings: Sequence[tuple[Toy, Pose]],
    background: str,
    seed: str,
    *,
    scale: float = 1.0,
) -> Image.Image:
    """Draw toys, in the given order from back to front, before a background.

    Args:
        size: width and height in pixels at scale 1.
        beings: toys and poses, the poses in pixels at scale 1.
        background: one of ``world.BACKGROUNDS``.
        seed: decides light and the background's details; equal seeds give equal pictures.
        scale: resolution; 4 draws the same picture four times as large.
    """
    rng = random.Random(seed)
    pixels = (round(size[0] * scale), round(size[1] * scale))
    image = _backdrop(pixels, background, rng)
    for toy, pose in beings:
        side = max(8, round(pose.height * scale))
        sprite = draw_toy(toy, side)
        if pose.mirrored:
            sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        sprite = sprite.rotate(pose.tilt, Image.Resampling.BILINEAR)
        x, y = (round(c * scale - side / 2) for c in pose.centre)
        image.paste(sprite, (x, y), sprite)
    return _light(image, rng)
