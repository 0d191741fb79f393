"""Draw toys and scenes with Pillow, at any resolution.

Everything is drawn in a unit square per toy at twice the wanted size and then reduced, which is
what smooths the edges. Pose, size, light and background vary between two pictures of one toy;
its attributes never do.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance

from repic.toybox.world import Toy

RGB = tuple[int, int, int]

INK: RGB = (58, 44, 40)
CREAM: RGB = (252, 246, 232)
PAINT: dict[str, RGB] = {
    "red": (214, 52, 52),
    "orange": (243, 140, 38),
    "yellow": (246, 212, 62),
    "green": (82, 168, 78),
    "blue": (64, 116, 222),
    "purple": (142, 82, 194),
    "pink": (247, 152, 192),
    "brown": (140, 92, 56),
    "white": (250, 250, 250),
    "black": (44, 42, 50),
}
# (above the horizon, below it)
GROUND: dict[str, tuple[RGB, RGB]] = {
    "meadow": ((186, 224, 246), (160, 208, 136)),
    "beach": ((150, 210, 240), (240, 222, 176)),
    "room": ((238, 224, 206), (198, 160, 124)),
    "street": ((206, 212, 222), (150, 152, 160)),
}
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Pose:
    """How one toy appears in one picture; ``height`` and the centre are in pixels at scale 1."""

    centre: tuple[float, float]
    height: float
    tilt: float  # degrees
    mirrored: bool


class _Pen:
    """Draws in unit coordinates of one toy, the origin at its top left."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)
        self.line = max(1, round(size * 0.018))

    def points(self, values: Sequence[float]) -> list[float]:
        return [v * self.size for v in values]

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: RGB, ink: bool = True) -> None:
        self.draw.ellipse(
            self.points((x - rx, y - ry, x + rx, y + ry)),
            fill=fill,
            outline=INK if ink else None,
            width=self.line if ink else 0,
        )

    def polygon(self, values: Sequence[float], fill: RGB) -> None:
        self.draw.polygon(self.points(values), fill=fill, outline=INK, width=self.line)

    def arc(self, x: float, y: float, r: float, start: float, end: float) -> None:
        self.draw.arc(self.points((x - r, y - r, x + r, y + r)), start, end, INK, self.line)


def _lighter(colour: RGB, share: float) -> RGB:
    r, g, b = (round(c + (255 - c) * share) for c in colour)
    return r, g, b


def _ears(pen: _Pen, species: str, fill: RGB) -> None:
    inner = _lighter(fill, 0.55)
    for side in (-1, 1):
        if species == "bear":
            pen.ellipse(0.5 + side * 0.2, 0.22, 0.085, 0.085, fill)
            pen.ellipse(0.5 + side * 0.2, 0.22, 0.04, 0.04, inner, ink=False)
        elif species == "rabbit":
            pen.ellipse(0.5 + side * 0.12, 0.13, 0.06, 0.17, fill)
            pen.ellipse(0.5 + side * 0.12, 0.13, 0.025, 0.11, inner, ink=False)
        elif species == "cat":
            x = 0.5 + side * 0.2
            pen.polygon((x - 0.1, 0.28, x + side * 0.06, 0.08, x + 0.1, 0.3), fill)
        elif species == "dog":
            pen.ellipse(0.5 + side * 0.27, 0.36, 0.075, 0.17, _lighter(fill, -0.25), ink=True)
        elif species == "elephant":
            pen.ellipse(0.5 + side * 0.31, 0.34, 0.15, 0.18, fill)
            pen.ellipse(0.5 + side * 0.31, 0.34, 0.09, 0.12, inner, ink=False)
        elif species == "pig":
            x = 0.5 + side * 0.19
            pen.polygon((x - 0.07, 0.2, x + side * 0.1, 0.17, x + 0.07, 0.28), fill)
        elif species == "frog":
            pen.ellipse(0.5 + side * 0.14, 0.2, 0.1, 0.1, fill)
            pen.ellipse(0.5 + side * 0.14, 0.19, 0.06, 0.06, CREAM)
            pen.ellipse(0.5 + side * 0.14, 0.19, 0.028, 0.028, INK, ink=False)
    if species == "duck":
        pen.polygon((0.44, 0.2, 0.42, 0.09, 0.5, 0.14, 0.56, 0.06, 0.57, 0.2), fill)


def _face(pen: _Pen, species: str, fill: RGB) -> None:
    muzzle = _lighter(fill, 0.6)
    if species != "frog":
        for side in (-1, 1):
            pen.ellipse(0.5 + side * 0.1, 0.34, 0.03, 0.036, INK, ink=False)
            pen.ellipse(0.5 + side * 0.1 + 0.008, 0.328, 0.011, 0.011, CREAM, ink=False)
    if species in ("bear", "dog"):
        pen.ellipse(0.5, 0.44, 0.095, 0.07, muzzle)
        pen.ellipse(0.5, 0.415, 0.035 if species == "bear" else 0.05, 0.025, INK, ink=False)
        if species == "dog":
            pen.ellipse(0.5, 0.5, 0.03, 0.04, (238, 120, 130))
    elif species in ("rabbit", "cat"):
        pen.polygon((0.475, 0.41, 0.525, 0.41, 0.5, 0.44), (238, 120, 130))
        pen.arc(0.475, 0.44, 0.026, 0, 180)
        pen.arc(0.525, 0.44, 0.026, 0, 180)
        if species == "rabbit":
            pen.polygon((0.475, 0.465, 0.525, 0.465, 0.525, 0.52, 0.475, 0.52), CREAM)
        else:
            for side in (-1, 1):
                for dy in (-0.02, 0.03):
                    a, b = 0.5 + side * 0.1, 0.5 + side * 0.28
                    pen.draw.line(pen.points((a, 0.44, b, 0.44 + dy)), INK, pen.line)
    elif species == "elephant":
        trunk = _lighter(fill, 0.15)
        pen.polygon((0.45, 0.38, 0.55, 0.38, 0.555, 0.58, 0.62, 0.62, 0.58, 0.67, 0.46, 0.62), trunk)
    elif species == "frog":
        pen.arc(0.5, 0.36, 0.13, 15, 165)
    elif species == "duck":
        pen.ellipse(0.5, 0.44, 0.14, 0.055, (246, 160, 40))
        pen.draw.line(pen.points((0.37, 0.44, 0.63, 0.44)), INK, pen.line)
    elif species == "pig":
        pen.ellipse(0.5, 0.44, 0.1, 0.075, muzzle)
        for side in (-1, 1):
            pen.ellipse(0.5 + side * 0.037, 0.44, 0.018, 0.03, INK, ink=False)


def _pattern(pen: _Pen, pattern: str, fill: RGB) -> None:
    """Paint the pattern inside the silhouette that is drawn so far."""
    if pattern == "plain":
        return
    layer = Image.new("RGBA", pen.image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    size = pen.size
    tone = _lighter(fill, 0.72) if sum(fill) < 520 else _lighter(fill, -0.45)
    if pattern == "striped":
        for i in range(7):
            y = (0.14 + i * 0.135) * size
            draw.rectangle((0, y, size, y + 0.055 * size), fill=tone)
    elif pattern == "spotted":
        r = 0.043 * size
        for i, y in enumerate((0.24, 0.53, 0.65, 0.77, 0.89)):
            for x in (0.3, 0.5, 0.7) if i % 2 == 0 else (0.4, 0.6):
                cx, cy = x * size, y * size
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=tone)
    else:
        draw.rectangle((0, 0.66 * size, size, size), fill=tone)
    alpha = pen.image.getchannel("A")
    pen.image.paste(layer, (0, 0), Image.composite(layer.getchannel("A"), Image.new("L", alpha.size), alpha))
    pen.draw = ImageDraw.Draw(pen.image)


def _accessory(pen: _Pen, accessory: str, paint: RGB) -> None:
    if accessory == "hat":
        pen.polygon((0.34, 0.2, 0.5, -0.03, 0.66, 0.2), paint)
        pen.polygon((0.27, 0.19, 0.73, 0.19, 0.73, 0.25, 0.27, 0.25), paint)
    elif accessory == "scarf":
        pen.polygon((0.27, 0.53, 0.73, 0.53, 0.75, 0.64, 0.25, 0.64), paint)
        pen.polygon((0.56, 0.6, 0.7, 0.6, 0.72, 0.86, 0.58, 0.86), paint)
    elif accessory == "bow":
        pen.polygon((0.5, 0.18, 0.29, 0.07, 0.29, 0.29), paint)
        pen.polygon((0.5, 0.18, 0.71, 0.07, 0.71, 0.29), paint)
        pen.ellipse(0.5, 0.18, 0.055, 0.055, paint)
    elif accessory == "glasses":
        for side in (-1, 1):
            pen.ellipse(0.5 + side * 0.125, 0.35, 0.115, 0.1, paint)
            pen.ellipse(0.5 + side * 0.125, 0.35, 0.062, 0.05, (205, 232, 240))
            pen.ellipse(0.5 + side * 0.125, 0.35, 0.022, 0.026, INK, ink=False)
    else:
        pen.draw.line(pen.points((0.76, 0.74, 0.85, 0.36)), INK, pen.line)
        pen.ellipse(0.84, 0.22, 0.15, 0.19, paint)


def draw_toy(toy: Toy, size: int) -> Image.Image:
    """Return the toy on a transparent square of ``size`` pixels."""
    pen = _Pen(size * SUPERSAMPLING)
    fill = PAINT[toy.colour]
    _ears(pen, toy.species, fill)
    for side in (-1, 1):
        pen.ellipse(0.5 + side * 0.14, 0.93, 0.1, 0.065, fill)
        pen.ellipse(0.5 + side * 0.25, 0.7, 0.065, 0.12, fill)
    pen.ellipse(0.5, 0.74, 0.24, 0.23, fill)
    pen.ellipse(0.5, 0.36, 0.27, 0.22, fill)
    _pattern(pen, toy.pattern, fill)
    _face(pen, toy.species, fill)
    _accessory(pen, toy.accessory, PAINT[toy.accessory_colour])
    return pen.image.resize((size, size), Image.Resampling.BOX)


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
        corner = (round(pose.centre[0] * scale - side / 2), round(pose.centre[1] * scale - side / 2))
        image.paste(sprite, corner, sprite)
    return _light(image, rng)
