"""Pictures that lie in files."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from repic.files import hash_file

# What cameras, phones and the web write. Pillow knows forty others, which have more to go wrong
# with: an EPS is a program, and run.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# What is taken for a picture where a folder of photos is given.
PICTURES = frozenset(".jpg .jpeg .png .webp .gif .bmp .tif .tiff .avif .heic .heif".split())
_HEIF = (".heic", ".heif")
# The kinds of ``PICTURES``, as Pillow calls them, and how a file of each is called.
_SUFFIXES = {"MPO": ".jpg", "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif"}
_SUFFIXES |= {"BMP": ".bmp", "TIFF": ".tif", "AVIF": ".avif", "HEIF": ".heic"}
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

    Attributes:
        largest: a picture with a longer side is shrunk to it while it is read, which for a
            telephone's photos takes a fraction of the time and memory; None leaves it as it is.
    """

    path: Path
    largest: int | None = None

    @property
    def key(self) -> str:
        return str(self.path)

    @cached_property
    def content(self) -> str:
        """A hash of the file, and of what is left of it."""
        whole = hash_file(self.path)
        return whole if self.largest is None else f"{whole}, {self.largest} pixels at most"

    def load(self) -> Image.Image:
        """Return the picture; ``ValueError`` names the file, what is wrong and the mend."""
        try:
            return self._decode()
        except FileNotFoundError:
            problem = "there is no such image; put it there or mend the path"
        except UnidentifiedImageError:
            problem = (
                "is not an image in a format that is read; save it as JPEG or PNG, or download it"
                " again"
            )
            if self._is_heif and not _add_heif():
                problem = "is HEIC, which needs a package: pip install 'repic[heic]'"
        except Image.DecompressionBombError as error:
            problem = f"is too large ({error}); scale it down"
        except UnreadableError as error:
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

    @property
    def suffix(self) -> str:
        """What a file of this kind is called, whatever this one is; of ``PICTURES``.

        Raises:
            ValueError: it cannot be read, or a folder of photos would not show it.
        """
        self.load()
        with Image.open(self.path, formats=self._formats) as file:
            suffix = _SUFFIXES.get(file.format or "")
        if suffix is None:
            raise ValueError(f"{self.path}: is {file.format}; save it as JPEG or PNG")
        return suffix

    @property
    def _is_heif(self) -> bool:
        return self.path.suffix.lower() in _HEIF

    @property
    def _formats(self) -> tuple[str, ...]:
        return (*_FORMATS, "HEIF") if self._is_heif and _add_heif() else _FORMATS

    def _decode(self) -> Image.Image:
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
            raise UnreadableError("is no file; mend the path")  # a pipe would be waited for
        with Image.open(self.path, formats=self._formats) as file:
            if self.largest is not None:
                file.draft(None, (self.largest, self.largest))  # JPEG decodes fewer pixels
            # Opening reads the header only: a truncated file fails here, where it decodes.
            picture = _narrow(_upright(file))
        if self.largest is not None:
            picture.thumbnail((self.largest, self.largest))
        is_solid = not picture.has_transparency_data
        pixels = picture.convert("RGB") if is_solid else _on_white(picture)
        pixels.info.clear()  # place, time, comments: an encoder would write them down
        return pixels


@cache
def _add_heif() -> bool:
    """Teach Pillow to read what telephones of one brand write, if the package is there."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


class UnreadableError(Exception):
    """What is wrong with a picture or a film, and the mend."""


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
