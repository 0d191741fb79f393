"""Pictures as the vision tower takes them, each prepared once.

A picture is used by the rollout, the reference and the update of a step, so what the processor
makes of it is kept, by the source's key, up to a bound on memory.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from repic.types import ImageSource

_CACHE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class EncodedImage:
    """One picture after the image processor.

    ``size`` is in tokens: (rows, columns). ``grid`` is in patches (time, rows, columns) for towers
    that take pictures of any size, and None for those that take one size only.
    """

    pixel_values: Tensor
    grid: tuple[int, int, int] | None
    size: tuple[int, int]

    @property
    def num_bytes(self) -> int:
        return self.pixel_values.nbytes


class ImageEncoder:
    """The directory's image processor, behind a cache.

    Always Pillow's implementation: torchvision's differs in the last bits of a resized picture,
    and a run should not depend on which packages are installed beside ours.

    Args:
        directory: the model's.
        config: the model's configuration.
        min_pixels: smaller pictures are enlarged to this area; None keeps the directory's value,
            and is the only choice for towers of one fixed size.
        max_pixels: larger pictures are shrunk to this area; None likewise.
    """

    def __init__(
        self, directory: str, config: Any, *, min_pixels: int | None, max_pixels: int | None
    ) -> None:
        self.processor: Any = AutoImageProcessor.from_pretrained(directory, backend="pil")
        self.vision = config.vision_config
        self.is_any_size = isinstance(self.processor, Qwen2VLImageProcessorPil)
        bounds = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
        changed = {name: value for name, value in bounds.items() if value is not None}
        if changed and not self.is_any_size:
            raise ValueError(
                f"model.min_pixels and model.max_pixels do not apply to {directory}, whose pictures"
                " have one size: set both to null"
            )
        if changed:
            self.processor.size = {**dict(self.processor.size), **changed}
        self._cache: OrderedDict[str, EncodedImage] = OrderedDict()
        self._cached_bytes = 0

    def encode(self, sources: Sequence[ImageSource]) -> list[EncodedImage]:
        """Prepare pictures, in the order given."""
        ready: dict[str, EncodedImage] = {}
        missing: dict[str, ImageSource] = {}
        for source in sources:
            if source.key in self._cache:
                self._cache.move_to_end(source.key)
                ready[source.key] = self._cache[source.key]
            else:
                missing[source.key] = source
        ready.update(zip(missing, self._process(list(missing.values())), strict=True))
        for key in missing:
            self._keep(key, ready[key])
        return [ready[source.key] for source in sources]

    def _keep(self, key: str, image: EncodedImage) -> None:
        """Cache one picture and forget those used longest ago."""
        self._cache[key] = image
        self._cached_bytes += image.num_bytes
        while self._cached_bytes > _CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1].num_bytes

    def _process(self, sources: Sequence[ImageSource]) -> list[EncodedImage]:
        if self.is_any_size:
            return self._process_any_size(sources)
        patch = self.vision.patch_size
        encoded = []
        for source in sources:
            pixels = self.processor(images=[source.load()], return_tensors="pt")["pixel_values"]
            size = (pixels.shape[-2] // patch, pixels.shape[-1] // patch)
            encoded.append(EncodedImage(pixels, None, size))
        return encoded

    def _process_any_size(self, sources: Sequence[ImageSource]) -> list[EncodedImage]:
        """Do what ``Qwen2VLImageProcessorPil`` does, for all pictures of one shape at once."""
        groups: dict[tuple[int, int], dict[int, np.ndarray]] = {}
        for i, source in enumerate(sources):
            pixels = self._resized(source)
            groups.setdefault(pixels.shape[:2], {})[i] = pixels
        encoded: dict[int, EncodedImage] = {}
        for pictures in groups.values():
            patches = self._patches(np.stack(list(pictures.values())))
            grid, size = self._grid(next(iter(pictures.values())))
            encoded.update(
                (i, EncodedImage(torch.from_numpy(rows), grid, size))
                for i, rows in zip(pictures, patches, strict=True)
            )
        return [encoded[i] for i in range(len(sources))]

    def _resized(self, source: ImageSource) -> np.ndarray:
        """Load a picture and fit its sides to whole tokens; height, width, channel as bytes."""
        image, processor = source.load(), self.processor
        factor = processor.patch_size * processor.merge_size
        bounds = processor.size
        try:
            height, width = smart_resize(
                image.height, image.width, factor, bounds["shortest_edge"], bounds["longest_edge"]
            )
        except ValueError as error:
            raise ValueError(f"{source.key}: {error}") from None
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), resample=Image.Resampling(processor.resample))
        return np.asarray(image)

    def _grid(self, pixels: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int]]:
        rows, columns = (side // self.processor.patch_size for side in pixels.shape[:2])
        merge = self.processor.merge_size
        return (1, rows, columns), (rows // merge, columns // merge)

    def _patches(self, pixels: np.ndarray) -> np.ndarray:
        """Normalize pictures [n, height, width, 3] and cut them into rows of patches."""
        processor = self.processor
        # There are 256 levels a channel: let the processor itself say what each becomes.
        levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
        levels = processor.rescale(levels, processor.rescale_factor)
        levels = processor.normalize(levels, processor.image_mean, processor.image_std)[:, 0]
        table = np.ascontiguousarray(levels.T, dtype=np.float32)  # [256, 3]
        merge, patch = processor.merge_size, processor.patch_size
        count, height, width, _ = pixels.shape
        cut = pixels.reshape(
            count, height // patch // merge, merge, patch, width // patch // merge, merge, patch, 3
        )
        # count, block row, block column, row, column of the patch in its block, channel, y, x
        cut = cut.transpose(0, 1, 4, 2, 5, 7, 3, 6)
        channel = np.arange(3)[:, None, None]
        values = table[cut, channel]
        # A still picture is a film in which every frame is the same.
        frames = processor.temporal_patch_size
        values = np.broadcast_to(
            values[..., None, :, :], (*values.shape[:6], frames, *values.shape[6:])
        )
        return values.reshape(count, (height // patch) * (width // patch), -1)
