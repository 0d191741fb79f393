"""Boxes that know nothing of the picture: the whole of it, and windows of several sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen
from PIL import Image

from repic.types import Box
from repic.values import PositiveShare, ShareBelow1


@dataclass(frozen=True, kw_only=True)
class SlidingWindows:
    """Windows that cover the picture, in rows from the top, the sizes in the order given.

    Attributes:
        shares: sizes of the windows, as shares of the picture's sides; 1 is the whole picture.
        overlap: share of a window, in [0, 1), that its neighbour covers too, or more.
    """

    shares: Annotated[Sequence[PositiveShare], MinLen(1)]
    overlap: ShareBelow1

    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        """Return the windows; what is looked for does not matter.

        Example:
            >>> windows = SlidingWindows(shares=[1.0, 0.5], overlap=0.0)
            >>> [tuple(map(int, b)) for b in windows(Image.new("RGB", (8, 4)), [])]
            [(0, 0, 8, 4), (0, 0, 4, 2), (4, 0, 8, 2), (0, 2, 4, 4), (4, 2, 8, 4)]
        """
        width, height = picture.size
        return [
            Box(x * width, y * height, (x + share) * width, (y + share) * height)
            for share in self.shares
            for y in _starts(share, self.overlap)
            for x in _starts(share, self.overlap)
        ]


def _starts(share: float, overlap: float) -> list[float]:
    """Spread windows evenly from one side to the other."""
    # Less a hair, so that rounding does not add a window.
    steps = math.ceil((1 - share) / (share * (1 - overlap)) - 1e-9)
    return [(1 - share) * step / steps for step in range(steps + 1)] if steps else [0.0]
