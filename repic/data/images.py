"""Pictures that lie in files."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from repic.files import hash_file

# What cameras, phones and the web write. Pillow knows forty others, which have more to go wrong
# with: an EPS is a program, and run.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
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


@dataclass(frozen=True)
class FileImage:
    """A picture in a file, loaded upright and as RGB; see ``repic.types.ImageSource``.

    What the file says beside the pixels, such as where the photo was taken, is left behind.

    Transparent parts become white, as on a web page; without that, the colours that hide under
    a cut-out's transparency would show.
    """

    path: Path

    @property
    def key(self) -> str:
        return str(self.path)

    @cached_property
    def content(self) -> str:
        """A hash of the file."""
        return hash_file(self.path)

    def load(self) -> Image.Image:
        """Return the picture; ``ValueError`` names the file, what is wrong and the mend."""
        try:
            if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
                raise _UnreadableError("is no file; mend the path")  # a pipe would be waited for
            with Image.open(self.path, formats=_FORMATS) as file:
                # Opening reads the header only: a truncated file fails here, where it decodes.
                picture = _narrow(_upright(file))
                is_solid = not picture.has_transparency_data
                pixels = picture.convert("RGB") if is_solid else _on_white(picture)
                pixels.info.clear()  # place, time, comments: an encoder would write them down
                return pixels
        except FileNotFoundError:
            problem = "there is no such image; put it there or mend the path"
        except UnidentifiedImageError:
            problem = (
                "is not an image in a format that is read; save it as JPEG or PNG, or download it"
                " again"
            )
        except Image.DecompressionBombError as error:
            problem = f"is too large ({error}); scale it down"
        except _UnreadableError as error:
            problem = str(error)
        # A decoder that a broken file leads astray may raise anything: OSError where it ends too
        # soon, SyntaxError for a chunk of PNG, struct.error for a field of EXIF.
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # the system's, not Pillow's
                problem = f"cannot be opened ({error.strerror}); mend the path, or let it be read"
            else:
                problem = (
                    f"cannot be read as an image ({error}); it may be incomplete: copy or download"
                    " it again"
                )
        raise ValueError(f"{self.path}: {problem}")


class _UnreadableError(Exception):
    """What is wrong, and the mend."""


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
        raise _UnreadableError(f"its levels are no whole numbers; {_EIGHT}")
    levels = np.asarray(picture.convert("I"))
    if levels.min() < 0 or levels.max() > _WIDE:
        raise _UnreadableError(f"its levels have more than 16 bits; {_EIGHT}")
    return Image.fromarray((levels * (255 / _WIDE)).round().astype(np.uint8))


def _on_white(picture: Image.Image) -> Image.Image:
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")
