"""A page's pictures as text: small enough for the page, each distinct one once."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image

from repic.types import ImageSource


class Encoding(NamedTuple):
    """WebP's quality, and the share of a picture's width and height that is kept."""

    quality: int
    share: float


# Tried from the best down. At a quality below 25 the small patterns by which beings are told apart
# are lost sooner than with fewer pixels.
ENCODINGS = tuple(
    Encoding(quality, share)
    for quality, share in (
        (85, 1.0), (75, 1.0), (65, 1.0), (55, 1.0), (45, 1.0), (35, 1.0), (25, 1.0),
        (25, 0.85), (25, 0.75), (25, 0.6), (25, 0.5),
    )
)  # fmt: skip
SAMPLE = 96  # pictures of a kind that are encoded to estimate the size of all
MARGIN = 1.04  # by which the estimate may be too low
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

    def __len__(self) -> int:
        return len(self._pictures)

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of the source, which boxes refer to."""
        return self._sizes[number]

    def estimate(self, encoding: Encoding) -> int:
        """About how many characters all pictures take."""
        step = max(1, len(self._pictures) // SAMPLE)
        sample = self._pictures[::step]
        if not sample:
            return 0
        length = sum(len(as_uri(picture, encoding)) for picture in sample)
        return round(len(self._pictures) * (MARGIN * length / len(sample) + OVERHEAD))

    def uris(self, encoding: Encoding) -> list[str]:
        """Every picture as a data URI, by number."""
        return [as_uri(picture, encoding) for picture in self._pictures]


def fitting_encoding(albums: Sequence[Album], num_characters: int) -> Encoding:
    """The best of ``ENCODINGS`` at which all pictures fit, or the last if none does."""
    fits = (e for e in ENCODINGS if sum(a.estimate(e) for a in albums) <= num_characters)
    return next(fits, ENCODINGS[-1])


def as_webp(picture: Image.Image, encoding: Encoding) -> bytes:
    """Encode a picture as WebP, which every browser shows."""
    out = io.BytesIO()
    kept = _reduced(picture, max(1, round(picture.width * encoding.share)))
    kept.save(out, "WEBP", quality=encoding.quality, method=4)
    return out.getvalue()


def as_uri(picture: Image.Image, encoding: Encoding) -> str:
    """The same as text."""
    text = base64.b64encode(as_webp(picture, encoding)).decode("ascii")
    return f"data:image/webp;base64,{text}"


def _reduced(picture: Image.Image, width: int) -> Image.Image:
    if picture.width <= width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
