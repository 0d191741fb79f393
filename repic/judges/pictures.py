"""Pictures as chat endpoints take them: encoded, inside a data URL."""

import base64
import io
from typing import Literal

from PIL import Image

from repic.types import ImageSource
from repic.values import Side

_JPEG_QUALITY = 90  # above Pillow's 75, whose blocks show on flat colours


class PictureEncoder:
    """Shrinks and encodes pictures.

    Args:
        max_side: a picture's longer side is shrunk to so many pixels; nothing is enlarged.
        format: "png" (exact, for drawings) or "jpeg" (smaller, for photos).
    """

    def __init__(self, *, max_side: Side, format: Literal["png", "jpeg"]) -> None:
        self.max_side, self.format = max_side, format

    def data_url(self, picture: Image.Image | ImageSource) -> str:
        """Return a picture as ``data:image/...;base64,...``, the same for the same pixels."""
        image = picture if isinstance(picture, Image.Image) else picture.load()
        small = image.convert("RGB")  # always a copy or a conversion: the original stays as it is
        small.info.clear()  # a photo's comments are no endpoint's business
        small.thumbnail((self.max_side, self.max_side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        options = {"quality": _JPEG_QUALITY} if self.format == "jpeg" else {}
        small.save(buffer, self.format, **options)
        encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
        return f"data:image/{self.format};base64,{encoded}"
