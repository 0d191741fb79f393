"""Draw one plush toy with Pillow, at any size.

Everything is drawn in a unit square at twice the wanted size and then reduced, which is what
smooths the edges.
"""

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from repic.toybox.world import Toy

RGB = tuple[int, int, int]

INK: RGB = (58, 44, 40)
CREAM: RGB = (252, 246, 232)
ROSE: RGB = (238, 120, 130)
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
SUPERSAMPLING = 2
SIDES = (-1, 1)


class Pen:
    """Draws in unit coordinates, the origin at the top left."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)
        self.line = max(1, round(size * 0.018))

    def points(self, values: Sequence[float]) -> list[float]:
        """Unit coordinates as pixels."""
        return [v * self.size for v in values]

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        """An outlined ellipse around (x, y)."""
        box = self.points((x - rx, y - ry, x + rx, y + ry))
        self.draw.ellipse(box, fill=fill, outline=INK, width=self.line)

    def dot(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        """An ellipse without an outline."""
        self.draw.ellipse(self.points((x - rx, y - ry, x + rx, y + ry)), fill=fill, width=0)

    def polygon(self, values: Sequence[float], fill: RGB) -> None:
        """An outlined polygon: x, y, x, y ..."""
        self.draw.polygon(self.points(values), fill=fill, outline=INK, width=self.line)

    def stroke(self, values: Sequence[float]) -> None:
        """A thin line."""
        self.draw.line(self.points(values), INK, self.line)

    def arc(self, x: float, y: float, r: float, start: int, end: int) -> None:
        """Part of a circle's edge, in degrees clockwise from the right."""
        self.draw.arc(self.points((x - r, y - r, x + r, y + r)), start, end, INK, self.line)


def draw_toy(toy: Toy, size: int) -> Image.Image:
    """Return the toy on a transparent square of ``size`` pixels."""
    pen = Pen(size * SUPERSAMPLING)
    fill = PAINT[toy.colour]
    EARS[toy.species](pen, fill)
    for side in SIDES:
        pen.ellipse(0.5 + side * 0.14, 0.93, 0.1, 0.065, fill)
        pen.ellipse(0.5 + side * 0.25, 0.7, 0.065, 0.12, fill)
    pen.ellipse(0.5, 0.74, 0.24, 0.23, fill)
    pen.ellipse(0.5, 0.36, 0.27, 0.22, fill)
    _pattern(pen, toy.pattern, fill)
    if toy.species != "frog":  # whose eyes are on top
        _eyes(pen)
    FACES[toy.species](pen, fill)
    WORN[toy.accessory](pen, PAINT[toy.accessory_colour])
    return pen.image.resize((size, size), Image.Resampling.BOX)


def _lighter(colour: RGB, share: float) -> RGB:
    r, g, b = (round(c + (255 - c) * share) for c in colour)
    return r, g, b


def _bear_ears(pen: Pen, fill: RGB) -> None:
    for side in SIDES:
        pen.ellipse(0.5 + side * 0.22, 0.2, 0.11, 0.11, fill)
        pen.dot(0.5 + side * 0.22, 0.2, 0.055, 0.055, _lighter(fill, 0.55))


def _rabbit_ears(pen: Pen, fill: RGB) -> None:
    for side in SIDES:
        pen.ellipse(0.5 + side * 0.15, 0.15, 0.085, 0.19, fill)
        pen.dot(0.5 + side * 0.15, 0.14, 0.04, 0.13, _lighter(fill, 0.55))


def _cat_ears(pen: Pen, fill: RGB) -> None:
    for side in SIDES:
        x = 0.5 + side * 0.2
        pen.polygon((x - 0.12, 0.28, x + side * 0.09, 0.03, x + 0.12, 0.3), fill)


def _dog_ears(pen: Pen, fill: RGB) -> None:
    for side in SIDES:
        pen.ellipse(0.5 + side * 0.29, 0.38, 0.1, 0.2, _lighter(fill, -0.3))


def _elephant_ears(pen: Pen, fill: RGB) -> None:
    for side in SIDES:
        pen.ellipse(0.5 + side * 0.31, 0.34, 0.16, 0.19, fill)
        pen.dot(0.5 + side * 0.31, 0.34, 0.1, 0.13, _lighter(fill, 0.55))


def _pig_ears(pen: Pen, fill: RGB) -> None:
    for side in SIDES:
        x = 0.5 + side * 0.2
        tip = x + side * 0.14
        pen.polygon((x - 0.1, 0.22, tip, 0.1, x + 0.1, 0.26), _lighter(fill, 0.55))


def _frog_eyes(pen: Pen, fill: RGB) -> None:
    for side in SIDES:
        pen.ellipse(0.5 + side * 0.17, 0.19, 0.13, 0.13, fill)
        pen.ellipse(0.5 + side * 0.17, 0.18, 0.085, 0.085, CREAM)
        pen.dot(0.5 + side * 0.17, 0.18, 0.04, 0.04, INK)


def _duck_tuft(pen: Pen, fill: RGB) -> None:
    pen.polygon((0.42, 0.2, 0.37, 0.06, 0.48, 0.12, 0.55, 0.02, 0.59, 0.2), fill)


def _eyes(pen: Pen) -> None:
    for side in SIDES:
        pen.dot(0.5 + side * 0.11, 0.33, 0.032, 0.038, INK)
        pen.dot(0.5 + side * 0.11 + 0.008, 0.318, 0.012, 0.012, CREAM)


def _bear_face(pen: Pen, fill: RGB) -> None:
    pen.ellipse(0.5, 0.45, 0.13, 0.09, CREAM)
    pen.dot(0.5, 0.42, 0.04, 0.03, INK)


def _dog_face(pen: Pen, fill: RGB) -> None:
    pen.ellipse(0.5, 0.45, 0.13, 0.09, _lighter(fill, 0.6))
    pen.dot(0.5, 0.42, 0.065, 0.03, INK)
    pen.ellipse(0.5, 0.53, 0.045, 0.06, (238, 96, 110))


def _small_nose(pen: Pen) -> None:
    pen.polygon((0.465, 0.4, 0.535, 0.4, 0.5, 0.44), ROSE)
    pen.arc(0.47, 0.44, 0.03, 0, 180)
    pen.arc(0.53, 0.44, 0.03, 0, 180)


def _rabbit_face(pen: Pen, fill: RGB) -> None:
    _small_nose(pen)
    pen.polygon((0.45, 0.465, 0.55, 0.465, 0.55, 0.56, 0.45, 0.56), CREAM)


def _cat_face(pen: Pen, fill: RGB) -> None:
    _small_nose(pen)
    for side in SIDES:
        for dy in (-0.04, 0.0, 0.04):
            pen.stroke((0.5 + side * 0.1, 0.44, 0.5 + side * 0.33, 0.44 + dy))


def _elephant_face(pen: Pen, fill: RGB) -> None:
    trunk = (0.44, 0.38, 0.56, 0.38, 0.57, 0.6, 0.66, 0.63, 0.62, 0.7, 0.46, 0.65)
    pen.polygon(trunk, _lighter(fill, 0.2))


def _frog_face(pen: Pen, fill: RGB) -> None:
    pen.draw.chord(pen.points((0.34, 0.26, 0.66, 0.54)), 10, 170, ROSE, INK, pen.line)


def _duck_face(pen: Pen, fill: RGB) -> None:
    pen.ellipse(0.5, 0.45, 0.2, 0.085, (250, 150, 30))
    pen.stroke((0.31, 0.45, 0.69, 0.45))


def _pig_face(pen: Pen, fill: RGB) -> None:
    pen.ellipse(0.5, 0.45, 0.145, 0.1, (255, 176, 176))
    for side in SIDES:
        pen.dot(0.5 + side * 0.052, 0.45, 0.027, 0.042, INK)


def _pattern(pen: Pen, pattern: str, fill: RGB) -> None:
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
    silhouette = pen.image.getchannel("A")
    nothing = Image.new("L", silhouette.size)
    pen.image.paste(layer, (0, 0), Image.composite(layer.getchannel("A"), nothing, silhouette))
    pen.draw = ImageDraw.Draw(pen.image)


def _hat(pen: Pen, paint: RGB) -> None:
    pen.polygon((0.34, 0.2, 0.5, -0.03, 0.66, 0.2), paint)
    pen.polygon((0.27, 0.19, 0.73, 0.19, 0.73, 0.25, 0.27, 0.25), paint)


def _scarf(pen: Pen, paint: RGB) -> None:
    pen.polygon((0.27, 0.53, 0.73, 0.53, 0.75, 0.64, 0.25, 0.64), paint)
    pen.polygon((0.56, 0.6, 0.7, 0.6, 0.72, 0.86, 0.58, 0.86), paint)


def _bow(pen: Pen, paint: RGB) -> None:
    pen.polygon((0.5, 0.18, 0.29, 0.07, 0.29, 0.29), paint)
    pen.polygon((0.5, 0.18, 0.71, 0.07, 0.71, 0.29), paint)
    pen.ellipse(0.5, 0.18, 0.055, 0.055, paint)


def _glasses(pen: Pen, paint: RGB) -> None:
    for side in SIDES:
        pen.ellipse(0.5 + side * 0.125, 0.35, 0.115, 0.1, paint)
        pen.ellipse(0.5 + side * 0.125, 0.35, 0.062, 0.05, (205, 232, 240))
        pen.dot(0.5 + side * 0.125, 0.35, 0.022, 0.026, INK)


def _balloon(pen: Pen, paint: RGB) -> None:
    pen.stroke((0.76, 0.74, 0.85, 0.36))
    pen.ellipse(0.84, 0.22, 0.15, 0.19, paint)


Part = Callable[[Pen, RGB], None]

EARS: dict[str, Part] = {
    "bear": _bear_ears,
    "rabbit": _rabbit_ears,
    "cat": _cat_ears,
    "dog": _dog_ears,
    "elephant": _elephant_ears,
    "frog": _frog_eyes,
    "duck": _duck_tuft,
    "pig": _pig_ears,
}
FACES: dict[str, Part] = {
    "bear": _bear_face,
    "rabbit": _rabbit_face,
    "cat": _cat_face,
    "dog": _dog_face,
    "elephant": _elephant_face,
    "frog": _frog_face,
    "duck": _duck_face,
    "pig": _pig_face,
}
WORN: dict[str, Part] = {
    "hat": _hat,
    "scarf": _scarf,
    "bow": _bow,
    "glasses": _glasses,
    "balloon": _balloon,
}
