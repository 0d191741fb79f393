"""Pictures that lie in files."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from repic.files import hash_file
from repic.pixels import UnreadableError, as_seen

# What cameras, phones and the web write. Pillow knows forty others, which have more to go wrong
# with: an EPS is a program, and run.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# What is taken for a picture where a folder of photos is given.
PICTURES = frozenset(".jpg .jpeg .png .webp .gif .bmp .tif .tiff .avif .heic .heif".split())
_HEIF = (".heic", ".heif")
# The kinds of ``PICTURES``, as Pillow calls them, and how a file of each is called.
_SUFFIXES = {"MPO": ".jpg", "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif"}
_SUFFIXES |= {"BMP": ".bmp", "TIFF": ".tif", "AVIF": ".avif", "HEIF": ".heic"}


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
            return as_seen(file, largest=self.largest)


@cache
def _add_heif() -> bool:
    """Teach Pillow to read what telephones of one brand write, if the package is there."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
