"""Pictures as the vision tower takes them, each prepared once.

A picture is used by the rollout, the reference and the update of a step, so what the processor
makes of it is kept, by the source's key, up to a bound on memory.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoImageProcessor, Qwen2VLImageProcessorPil

from repic.types import ImageSource

_CACHE_BYTES = 256 * 2**20


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
        self.patch_size = config.vision_config.patch_size
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
        return [self._encode(source) for source in sources]

    def _encode(self, source: ImageSource) -> EncodedImage:
        if source.key in self._cache:
            self._cache.move_to_end(source.key)
            return self._cache[source.key]
        image = self._process(source)
        self._keep(source.key, image)
        return image

    def _keep(self, key: str, image: EncodedImage) -> None:
        """Cache one picture and forget those used longest ago."""
        self._cache[key] = image
        self._cached_bytes += image.num_bytes
        while self._cached_bytes > _CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1].num_bytes

    def _process(self, source: ImageSource) -> EncodedImage:
        image = source.load()
        try:
            output = self.processor(images=[image], return_tensors="pt")
        except ValueError as error:  # for example, a strip that is 200 times as long as wide
            raise ValueError(f"{source.key}: {error}") from None
        pixels = output["pixel_values"]
        if not self.is_any_size:
            rows, columns = (side // self.patch_size for side in pixels.shape[-2:])
            return EncodedImage(pixels, None, (rows, columns))
        time, rows, columns = output["image_grid_thw"][0].tolist()
        merge = self.processor.merge_size
        return EncodedImage(pixels, (time, rows, columns), (rows // merge, columns // merge))


def lay_out(images: Sequence[EncodedImage]) -> tuple[Tensor | None, Tensor | None]:
    """Return pictures one after another, as a vision tower takes them, and their grids."""
    if not images:
        return None, None
    grids = [image.grid for image in images if image.grid is not None]
    pixels = torch.cat([image.pixel_values for image in images])
    return pixels, torch.tensor(grids) if grids else None
