"""What is to be seen in a picture's file: upright, as RGB, with what is transparent on white."""

import numpy as np
from PIL import ExifTags, Image

_WIDE = 2**16 - 1  # the largest level of 16 bits
_EIGHT = "save it with 8 bits a channel"  # other levels would have to be guessed

# EXIF orientation -> what makes it upright; 1 is.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableError(Exception):
    """What is wrong with a picture or a film, and the mend."""


def as_seen(file: Image.Image, *, largest: int | None) -> Image.Image:
    """Decode a picture as it is looked at, without what its file says beside the pixels.

    Args:
        file: opened, and not yet decoded.
        largest: of its sides in pixels, to which a larger one is shrunk; None leaves it as it is.

    Raises:
        UnreadableError: its levels would have to be guessed. A decoder may raise anything.
    """
    if largest is not None:
        file.draft(None, (largest, largest))  # JPEG decodes fewer pixels
    # Opening reads the header only: a truncated file fails here, where it decodes.
    picture = _narrow(_upright(file))
    is_solid = not picture.has_transparency_data
    if largest is not None:
        if picture.mode in ("1", "P", "PA"):  # of which pixels would be left out, and not mixed
            picture = picture.convert("RGB" if is_solid else "RGBA")
        picture.thumbnail((largest, largest))
    pixels = picture.convert("RGB") if is_solid else _on_white(picture)
    pixels.info.clear()  # place, time, comments: an encoder would write them down
    return pixels


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation says.

    ``ImageOps.exif_transpose`` does the same and writes the other fields of EXIF anew, in which it
    fails on values that can be read and not written.
    """
    picture.load()  # some formats keep EXIF behind the pixels
    turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def _narrow(picture: Image.Image) -> Image.Image:
    """Bring grey levels of 16 bits to 8; Pillow's own conversion makes all above 255 white."""
    if picture.mode[0] not in "IF":
        return picture
    if picture.mode == "F":
        raise UnreadableError(f"its levels are no whole numbers; {_EIGHT}")
    levels = np.asarray(picture.convert("I"))
    if levels.min() < 0 or levels.max() > _WIDE:
        raise UnreadableError(f"its levels have more than 16 bits; {_EIGHT}")
    return Image.fromarray((levels * (255 / _WIDE)).round().astype(np.uint8))


def _on_white(picture: Image.Image) -> Image.Image:
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")
