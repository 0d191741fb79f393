"""Prompts about random pixels: as many as wanted, with nothing to download or to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from PIL import Image

from repic.types import Example, Reference
from repic.values import Count, Seed, Side, Whole


@dataclass(frozen=True)
class NoiseImage:
    """A square of random pixels; see ``repic.types.ImageSource``."""

    seed: tuple[int, ...]
    side: int

    @property
    def key(self) -> str:
        return f"noise:{'/'.join(map(str, self.seed))}:{self.side}"

    def load(self) -> Image.Image:
        random = np.random.default_rng(self.seed)
        return Image.fromarray(random.integers(0, 256, (self.side, self.side, 3), dtype=np.uint8))


class NoiseExamples:
    """Prompts that differ in their pictures alone; no picture is shown twice.

    Args:
        counts: numbers of references, taken in turn.
        size: how many examples there are.
        seed: of the pixels.
        image_px: side of every picture.
    """

    follows_from_settings = True  # see repic.data.contents

    def __init__(
        self,
        *,
        counts: Annotated[Sequence[Whole], MinLen(1)],
        size: Count,
        seed: Seed,
        image_px: Side,
    ) -> None:
        self.counts, self.size, self.seed, self.image_px = counts, size, seed, image_px

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(index)
        count = self.counts[index % len(self.counts)]
        pictures = [NoiseImage((self.seed, index, i), self.image_px) for i in range(count + 1)]
        names = [f"<b{'aeiou'[i % 5]}{i // 5 or ''}>" for i in range(count)]
        return Example(
            id=f"noise/{self.seed}/{index}",
            task="caption",
            references=tuple(Reference(n, None, p) for n, p in zip(names, pictures, strict=False)),
            query=pictures[-1],
            question="Who is in this picture?",
            present=tuple(names),
            num_concepts=count,
        )
