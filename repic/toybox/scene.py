"""Place toys in a scene and take single portraits; pictures as lazily drawn image sources."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image

from repic.toybox.draw import Pose, draw_picture
from repic.toybox.world import BACKGROUNDS, Toy
from repic.types import Box, Mention, Scene

PORTRAIT_SIZE = (64, 64)
SCENE_SIZE = (256, 160)
TOY_HEIGHT = (54.0, 64.0)
MAX_BEINGS = 7  # more hide each other, and the base model has practised no more


@dataclass(frozen=True)
class ToyboxImage:
    """A picture as a recipe: drawn on ``load``, the same on every machine.

    Sizes and poses are in pixels at scale 1; ``scale`` is the resolution.
    """

    size: tuple[int, int]
    beings: tuple[tuple[Toy, Pose], ...]  # from back to front
    background: str
    seed: str
    scale: float

    @property
    def key(self) -> str:
        return f"toybox:{self.seed}@{self.scale:g}"

    @cached_property
    def content(self) -> str:
        """The recipe; the seed alone is drawn by other rules elsewhere."""
        return repr(self)

    def load(self) -> Image.Image:
        return draw_picture(self.size, self.beings, self.background, self.seed, scale=self.scale)

    def at(self, scale: float) -> "ToyboxImage":
        """The same picture at another resolution."""
        return replace(self, scale=scale)


def portrait(toy: Toy, seed: str, *, scale: float) -> ToyboxImage:
    """A picture of one toy on its own background."""
    rng = random.Random(f"portrait:{seed}")
    width, height = PORTRAIT_SIZE
    pose = random_pose((width / 2 + rng.uniform(-4, 4), height / 2 + rng.uniform(-3, 3)), rng)
    return ToyboxImage(PORTRAIT_SIZE, ((toy, pose),), rng.choice(BACKGROUNDS), seed, scale)


def arrange(toys: Sequence[Toy], seed: str, *, scale: float) -> tuple[ToyboxImage, list[Pose]]:
    """Stand toys in a scene, from left to right in the given order.

    Neighbours that would overlap are staggered into a back and a front row, so that every toy
    stays recognisable.

    Returns:
        The picture and the poses in the order of ``toys``.
    """
    if not 1 <= len(toys) <= MAX_BEINGS:
        raise ValueError(f"a scene holds 1 to {MAX_BEINGS} toys, not {len(toys)}")
    rng = random.Random(f"scene:{seed}")
    width, height = SCENE_SIZE
    poses: list[Pose] = []
    in_front = rng.random() < 0.5
    for i, x in enumerate(columns(len(toys), float(width), rng)):
        crowded = i > 0 and x - poses[-1].centre[0] < 58
        in_front = not in_front if crowded else rng.random() < 0.5
        y = height * (0.68 if in_front else 0.33) + rng.uniform(-5, 5)
        poses.append(random_pose((x, y), rng))
    beings = sorted(zip(toys, poses, strict=True), key=lambda being: being[1].centre[1])
    picture = ToyboxImage(SCENE_SIZE, tuple(beings), rng.choice(BACKGROUNDS), seed, scale)
    return picture, poses


def ground_truth(
    toys: Sequence[Toy], names: Sequence[str | None], poses: Sequence[Pose], picture: ToyboxImage
) -> Scene:
    """Everything that is visible, one mention a toy, from left to right."""
    mentions = [
        Mention(
            attributes={**toy.attributes, "position": position_word(pose.centre[0])},
            name=name,
            box=pose_box(pose, picture.scale),
        )
        for toy, name, pose in zip(toys, names, poses, strict=True)
    ]
    return Scene(mentions=tuple(mentions), background=picture.background)


def position_word(x: float) -> str:
    """Which third of the scene a toy's centre lies in."""
    third = SCENE_SIZE[0] / 3
    return "left" if x < third else "middle" if x < 2 * third else "right"


def pose_box(pose: Pose, scale: float) -> Box:
    """The square that a toy was drawn in, in pixels at ``scale``."""
    half = pose.height / 2
    x, y = pose.centre
    return Box(*(round(v * scale) for v in (x - half, y - half, x + half, y + half)))


def columns(count: int, width: float, rng: random.Random) -> list[float]:
    """Ascending x centres with jitter; neighbours keep a distance."""
    margin = 30.0
    if count == 1:
        return [rng.uniform(margin, width - margin)]
    room = width - 2 * margin
    least = min(60.0, 0.85 * room / (count - 1))
    spare = room - least * (count - 1)
    cuts = sorted(rng.uniform(0, spare) for _ in range(count))
    return [margin + least * i + cut for i, cut in enumerate(cuts)]


def random_pose(centre: tuple[float, float], rng: random.Random) -> Pose:
    """Draw all of a pose but its centre."""
    return Pose(centre, rng.uniform(*TOY_HEIGHT), rng.uniform(-8, 8), rng.random() < 0.5)
