"""Pictures that lie in files."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError


@dataclass(frozen=True)
class FileImage:
    """A picture in a file, loaded upright and as RGB; see ``repic.types.ImageSource``.

    Transparent parts become white, as on a web page; without that, the colours that hide under
    a cut-out's transparency would show.
    """

    path: Path

    @property
    def key(self) -> str:
        return str(self.path)

    def load(self) -> Image.Image:
        """Return the picture; ``ValueError`` names the file, what is wrong and the mend."""
        try:
            with Image.open(self.path) as file:
                # Opening reads the header only: a truncated file fails here, where it decodes.
                picture = ImageOps.exif_transpose(file)
                if picture.has_transparency_data:
                    return _on_white(picture)
                return picture.convert("RGB")
        except FileNotFoundError:
            raise ValueError(
                f"{self.path}: there is no such image; put it there or mend the path"
            ) from None
        except UnidentifiedImageError:
            raise ValueError(
                f"{self.path}: is not an image in a format that Pillow reads;"
                " save it as JPEG or PNG, or download it again"
            ) from None
        # Pillow reports a truncated file as OSError and a broken PNG chunk as SyntaxError.
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{self.path}: cannot be read as an image ({error});"
                " it may be incomplete: copy or download it again"
            ) from error


def _on_white(picture: Image.Image) -> Image.Image:
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")
