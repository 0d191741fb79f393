"""One self-contained HTML page: numbers, curves, and scenes with captions to look at.

Nothing is loaded from elsewhere, there is no script, and everything that is text is escaped. The
words of captions come from models and from other people's data.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image

from repic.report.cards import Fact, SceneCard
from repic.report.chart import Chart
from repic.report.render import ABSENT, cell_text, write_text
from repic.report.tables import Table
from repic.types import Box, ImageSource

SCENE_WIDTH, REFERENCE_WIDTH = 1200, 240
PNG_LIMIT = 300_000  # bytes; photographs are larger and become JPEG

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(
    path: Path,
    *,
    title: str,
    subtitle: str,
    summary: Sequence[Fact],
    tables: Sequence[Table],
    curves: Sequence[Chart],
    scenes: Sequence[SceneCard],
    about: Mapping[str, str],
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the file.
        title: of the page.
        subtitle: a line below it, for example which command made it.
        summary: the few numbers to read first.
        tables: shown in full.
        curves: shown side by side where there is room.
        scenes: shown by number of concepts, in the given order within each.
        about: what else there is to know of the run, by name.
    """
    page = _ENVIRONMENT.get_template("page.html.j2").render(
        title=title,
        subtitle=subtitle,
        summary=summary,
        tables=tables,
        curves=curves,
        groups=_by_count(scenes),
        about=about,
        cell_text=cell_text,
        absent=ABSENT,
        embed=embed,
        box_style=box_style,
        SCENE_WIDTH=SCENE_WIDTH,
        REFERENCE_WIDTH=REFERENCE_WIDTH,
    )
    write_text(path, page)


class Picture(NamedTuple):
    """An image to put into the page; ``size`` is the source's, which boxes refer to."""

    uri: str
    size: tuple[int, int]


def embed(image: ImageSource, max_width: int) -> Picture:
    """Turn a picture into text, reduced to what a page can show.

    Raises:
        ValueError: the picture is missing or corrupt (see ``ImageSource.load``).
    """
    source = shown = image.load()
    if source.width > max_width:
        height = max(1, round(source.height * max_width / source.width))
        shown = source.resize((max_width, height), Image.Resampling.LANCZOS)
    data, kind = _encoded(shown, "PNG"), "png"
    if len(data) > PNG_LIMIT:
        data, kind = _encoded(shown.convert("RGB"), "JPEG"), "jpeg"
    text = base64.b64encode(data).decode("ascii")
    return Picture(f"data:image/{kind};base64,{text}", source.size)


def box_style(box: Box, size: tuple[int, int]) -> str:
    """Where a box lies on its picture, in percent, whatever size the picture is shown at.

    Boxes are cut at the picture's edges.

    Example:
        >>> box_style(Box(-5, 40, 100, 80), (200, 100))
        'left:0.0%;top:40.0%;width:50.0%;height:40.0%'
    """
    (x0, x1), (y0, y1) = (
        (100 * min(max(low / length, 0), 1), 100 * min(max(high / length, 0), 1))
        for low, high, length in ((box[0], box[2], size[0]), (box[1], box[3], size[1]))
    )
    return f"left:{x0:.1f}%;top:{y0:.1f}%;width:{x1 - x0:.1f}%;height:{y1 - y0:.1f}%"


def _encoded(picture: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, optimize=True)
    return out.getvalue()


def _by_count(scenes: Sequence[SceneCard]) -> dict[int, list[SceneCard]]:
    counts = sorted({scene.num_concepts for scene in scenes})
    return {count: [s for s in scenes if s.num_concepts == count] for count in counts}
