"""What a retriever is made of, whoever provides it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL import Image

from repic.types import Box


@runtime_checkable
class Proposer(Protocol):
    """Where in a picture somebody may be."""

    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        """Return boxes in the picture.

        Args:
            picture: RGB.
            looked_for: what kinds of beings and things the album holds, in words.
        """
        ...


@runtime_checkable
class Embedder(Protocol):
    """From pictures to vectors that are near each other where the same being is shown."""

    @property
    def version(self) -> str:
        """Hash of the weights and of the settings: equal where the vectors would be equal."""
        ...

    def __call__(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "N D"]:
        """Return vectors of length 1, in float32."""
        ...


def unit(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Scale vectors to length 1; a zero vector stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
