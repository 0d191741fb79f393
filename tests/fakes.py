"""Examples and pictures made of nothing; needs no model library."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from repic.types import Example, ImageSource, Reference


@dataclass(frozen=True)
class Noise:
    """A picture of random pixels; the seed and the size are its key."""

    seed: int
    width: int = 28
    height: int = 28

    @property
    def key(self) -> str:
        return f"noise:{self.seed}:{self.width}x{self.height}"

    def load(self) -> Image.Image:
        rng = np.random.default_rng(self.seed)
        pixels = rng.integers(0, 256, (self.height, self.width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


def example(
    id: str,
    references: Sequence[ImageSource | None] = (),
    query: ImageSource | None = None,
    question: str = "Who is in the picture?",
) -> Example:
    names = [f"<{'bomimo'[i : i + 2]}{i}>" for i in range(len(references))]
    shown = [Reference(name, None, image) for name, image in zip(names, references, strict=True)]
    return Example(
        id=id,
        task="caption",
        references=tuple(shown),
        query=query,
        question=question,
        target="a red bear, <bo>",
        num_concepts=1,
    )


def mixed_examples() -> list[Example]:
    """Prompts of different lengths with none, one and several pictures of different sizes."""
    return [
        example("two", [Noise(1), Noise(2, 56, 28)], Noise(3, 42, 56)),
        example("text", question="red or blue?"),
        example("one", [None], Noise(4), "Who?"),
    ]
