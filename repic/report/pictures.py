"""A page's pictures as text: small enough for the page, each distinct one once."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from repic.types import ImageSource

# Tried from the best down. Below 15 the small patterns by which beings are told apart are lost.
QUALITIES = (85, 75, 65, 55, 45, 35, 25, 15)
SAMPLE = 48  # pictures of a kind that are encoded to estimate the size of all
MARGIN = 1.03  # by which the estimate may be too low
OVERHEAD = 48  # characters around each picture


@dataclass
class Album:
    """Pictures of one kind, reduced to the width at which the page shows them.

    Sources are values: equal ones load the same pixels, and are kept once.

    Attributes:
        width: at most so many pixels; pictures are never enlarged.
        complaints: what ``ImageSource.load`` said of pictures that could not be had.
    """

    width: int
    complaints: list[str] = field(default_factory=list)
    _pictures: list[Image.Image] = field(default_factory=list)
    _sizes: list[tuple[int, int]] = field(default_factory=list)
    _numbers: dict[ImageSource, int | None] = field(default_factory=dict)

    def add(self, image: ImageSource | None) -> int | None:
        """Keep a picture and return its number; None if there is none, or it cannot be read."""
        if image is None:
            return None
        if image not in self._numbers:
            try:
                source = image.load().convert("RGB")
            except ValueError as error:
                self.complaints.append(str(error))
                self._numbers[image] = None
                return None
            self._numbers[image] = len(self._pictures)
            self._sizes.append(source.size)
            self._pictures.append(_reduced(source, self.width))
        return self._numbers[image]

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of the source, which boxes refer to."""
        return self._sizes[number]

    def estimate(self, quality: int) -> int:
        """About how many characters all pictures take."""
        step = max(1, len(self._pictures) // SAMPLE)
        sample = self._pictures[::step]
        if not sample:
            return 0
        length = sum(len(as_uri(picture, quality)) for picture in sample)
        return round(len(self._pictures) * (MARGIN * length / len(sample) + OVERHEAD))

    def uris(self, quality: int) -> list[str]:
        """Every picture as a data URI, by number."""
        return [as_uri(picture, quality) for picture in self._pictures]


def fitting_quality(albums: Sequence[Album], num_characters: int) -> int:
    """The best of ``QUALITIES`` at which all pictures fit, or the last if none does."""
    fits = (q for q in QUALITIES if sum(a.estimate(q) for a in albums) <= num_characters)
    return next(fits, QUALITIES[-1])


def as_uri(picture: Image.Image, quality: int) -> str:
    """Encode a picture as WebP, which every browser shows, and as text."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def _reduced(picture: Image.Image, width: int) -> Image.Image:
    if picture.width <= width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
