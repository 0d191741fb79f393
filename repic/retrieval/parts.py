"""What a retriever is made of, whoever provides it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

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


class NetworkEmbedder(ABC):
    """Most of an ``Embedder``: shows a network some pictures at a time.

    Args:
        batch_size: pictures that go through the network at a time.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "N D"]:
        starts = range(0, len(pictures), self.batch_size)
        parts = [self.features(pictures[i : i + self.batch_size]).cpu() for i in starts]
        return unit(torch.cat(parts).float().numpy())

    @abstractmethod
    def features(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "N D"]:
        """Return vectors of any length, on any device."""


def unit(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Scale vectors to length 1; a zero vector stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
