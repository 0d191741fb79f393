"""Pictures as the vision tower takes them, each prepared once.

A picture is used by the rollout, the reference and the update of a step, so what the processor
makes of it is kept, by the source's key, up to a bound on memory.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor

from repic.errors import first_line
from repic.models.families import EncodedImage, Family, Parts
from repic.types import ImageSource, picture_content

_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class OnlyImage:
    """A picture that is the only one of its prompt, where that makes a difference."""

    original: ImageSource

    @property
    def key(self) -> str:
        return f"only:{self.original.key}"

    @property
    def content(self) -> str:
        return f"only:{picture_content(self.original)}"

    def load(self) -> Image.Image:
        return self.original.load()


@dataclass(frozen=True)
class Followed:
    """A picture with words right behind its features, before whatever a chat template writes.

    Its content is the original's, since its features are.
    """

    original: ImageSource
    words: str

    @property
    def key(self) -> str:
        return f"{self.original.key}{self.words}"

    @property
    def content(self) -> str:
        return picture_content(self.original)

    def load(self) -> Image.Image:
        return self.original.load()


class ImageEncoder:
    """The directory's image processor, behind a cache.

    Always Pillow's implementation: torchvision's differs in the last bits of a resized picture,
    and a run should not depend on which packages are installed beside ours.

    Args:
        directory: the model's.
        family: the model's.
        config: the model's configuration.
        tokenizer: the model's.
        min_pixels: smaller pictures are enlarged to this area; None keeps the directory's value,
            and is the only choice for families whose pictures have one size.
        max_pixels: larger pictures are shrunk to this area; None likewise.
    """

    def __init__(
        self,
        directory: str,
        family: Family,
        config: Any,
        tokenizer: Any,
        *,
        min_pixels: int | None,
        max_pixels: int | None,
    ) -> None:
        self._directory = directory
        self.processor = image_processor(directory)
        self.family = family
        self.parts = Parts(self.processor, config, tokenizer)
        bounds = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
        changed = {name: value for name, value in bounds.items() if value is not None}
        if changed and not family.is_any_size:
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
        if isinstance(source, OnlyImage) and isinstance(source.original, Followed):
            source = Followed(OnlyImage(source.original.original), source.original.words)
        if isinstance(source, Followed):
            image = self._encode(source.original)
            return replace(image, text=image.text + source.words)
        key = picture_content(source)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        image = self._process(source)
        self._keep(key, image)
        return image

    def _keep(self, key: str, image: EncodedImage) -> None:
        """Cache one picture and forget those used longest ago."""
        self._cache[key] = image
        self._cached_bytes += image.num_bytes
        while self._cached_bytes > _CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1].num_bytes

    def _process(self, source: ImageSource) -> EncodedImage:
        assert self.family.encode is not None
        picture = source.load()
        try:
            return self.family.encode(self.parts, picture, isinstance(source, OnlyImage))
        # A strip that is 200 times as long as wide; or whatever the directory's numbers lead to.
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ValueError(
                f"{source.key}: the image processor of {self._directory} cannot prepare it"
                f" ({kind}{error}); another picture, or another preprocessor_config.json, may do"
            ) from error


def image_processor(directory: str | Path) -> Any:
    """Load a directory's image processor; Pillow's, see ``ImageEncoder``."""
    try:
        return AutoImageProcessor.from_pretrained(directory, backend="pil", trust_remote_code=False)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{directory}: the library has no image processor for it that works on Pillow's"
            f" pictures ({first_line(error)}); another model of its family may have one"
        ) from None
