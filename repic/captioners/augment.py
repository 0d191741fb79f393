"""Pictures of a friend, changed a little each time that they are learnt from."""

import random
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from PIL import Image, ImageEnhance, ImageOps

from repic.types import ImageSource, picture_content
from repic.values import Share

Degrees = Annotated[float, Ge(0), Le(180)]


@dataclass(frozen=True)
class Changed:
    """A picture, perhaps mirrored, then turned, then lighter or darker."""

    original: ImageSource
    is_mirrored: bool
    angle: float
    brightness: float

    @property
    def key(self) -> str:
        return f"{self.original.key}:{self.is_mirrored}:{self.angle:.4f}:{self.brightness:.4f}"

    @property
    def content(self) -> str:
        return f"{picture_content(self.original)}{self.key}"

    def load(self) -> Image.Image:
        """Draw it; what turning uncovers is black, as torchvision leaves it."""
        picture = self.original.load()
        if self.is_mirrored:
            picture = ImageOps.mirror(picture)
        if self.angle:
            picture = picture.rotate(self.angle)
        return ImageEnhance.Brightness(picture).enhance(self.brightness)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much a picture may change.

    Attributes:
        flip: share of pictures that are mirrored.
        rotation: degrees to either side, evenly.
        brightness: by which share of it a picture is lighter or darker, evenly, up to this.
    """

    flip: Share
    rotation: Degrees
    brightness: Share

    def __call__(self, picture: ImageSource, rng: random.Random) -> ImageSource:
        """A changed picture; the dice decide all."""
        return Changed(
            picture,
            rng.random() < self.flip,
            rng.uniform(-self.rotation, self.rotation),
            1 + rng.uniform(-self.brightness, self.brightness),
        )
