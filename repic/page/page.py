"""One self-contained HTML page: numbers, curves, and scenes with captions to look at.

Nothing is loaded from elsewhere, and everything that is text is escaped: the words of captions come
from models and from other people's data. A small script filters the scenes; without it all of them
are shown. The page forbids itself every other script, and every connection.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from repic.files import write_text
from repic.page.cards import Fact, Opening, SceneCard, by_count
from repic.page.charts import STYLES, Chart
from repic.page.pictures import Album, fitting_encoding
from repic.tables.table import Table
from repic.tables.write import ABSENT, cell_text
from repic.types import Box
from repic.words import counted

PAGE_BYTES = 9_500_000  # what pictures may fill a page up to; mail and forges refuse 10 MB

_HERE = Path(__file__).parent
CSS = Markup(STYLES + (_HERE / "page.css").read_text(encoding="utf-8"))
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Layout:
    """How scenes are shown.

    Attributes:
        scene_width, reference_width: of pictures, in pixels.
        is_dense: many small cards, instead of a few large ones with rewards and an answer.
    """

    scene_width: int
    reference_width: int
    is_dense: bool


LARGE = Layout(scene_width=1200, reference_width=240, is_dense=False)
DENSE = Layout(scene_width=320, reference_width=64, is_dense=True)


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
    opening: Opening | None = None,
    layout: Layout = LARGE,
    overview: Chart | None = None,
    notes: Sequence[str] = (),
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
        about: what else there is to know of the runs, by name.
        opening: a scene shown before all else.
        layout: of the scenes.
        overview: a chart shown large, before the tables.
        notes: sentences on the scenes. What pictures could not be read is added, once.
    """
    albums = PagePictures(Album(layout.scene_width), Album(layout.reference_width))
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    page = TEMPLATES.get_template("page.html.j2").render(
        title=title,
        subtitle=subtitle,
        summary=summary,
        tables=tables,
        curves=curves,
        overview=overview,
        groups=by_count(scenes),
        authors=list(dict.fromkeys(c.author for scene in scenes for c in scene.captions)),
        about=about,
        opening=opening,
        notes=notes,
        layout=layout,
        albums=albums,
        has_strangers=any(not being.name for scene in scenes for being in scene.boxes),
        outcomes=outcomes,
        cell_text=cell_text,
        absent=ABSENT,
        box_style=box_style,
        css=CSS,
        script=Markup(script),
        script_hash=_hash(script),
    )
    write_text(path, albums.put_into(page))


@dataclass(frozen=True)
class PagePictures:
    """The page's pictures. They are put in when the length of everything else is known.

    What stands in for them holds a bare quotation mark or angle bracket, which no escaped text
    does.
    """

    scenes: Album
    references: Album

    STYLES = "<style>/* references */</style>"
    COMPLAINT = '<p class="complaint"></p>'

    @property
    def has_pictures(self) -> bool:
        """Whether there are any so far."""
        return bool(self.scenes or self.references)

    def put_into(self, page: str) -> str:
        encoding = fitting_encoding((self.scenes, self.references), PAGE_BYTES - len(page.encode()))
        uris = self.scenes.uris(encoding)
        page = re.sub(r'src="scene:(\d+)"', lambda m: f'src="{uris[int(m[1])]}"', page)
        rules = [
            f".i{number}{{background-image:url({uri})}}"
            for number, uri in enumerate(self.references.uris(encoding))
        ]
        page = page.replace(self.STYLES, f"<style>\n{chr(10).join(rules)}\n</style>" * bool(rules))
        return page.replace(self.COMPLAINT, self._complaint())

    def _complaint(self) -> str:
        complaints = [*self.scenes.complaints, *self.references.complaints]
        if not complaints:
            return ""
        text = Markup('<p class="note">{} cannot be shown. The first: {}.</p>')
        return text.format(counted(len(complaints), "picture"), complaints[0])


def outcomes(scene: SceneCard, authors: Sequence[str]) -> str:
    """How each author fared, for the filters: initials of outcomes, "-" without a caption.

    Example:
        >>> from repic.page.cards import CaptionCard, ReferenceCard
        >>> bo = ReferenceCard("<bo>", None, None, is_present=True)
        >>> said = (CaptionCard("a", "<bo>"), CaptionCard("c", "<mi>"))
        >>> outcomes(SceneCard("s", 1, None, (), (bo,), said), ["a", "b", "c"])
        'r - wm'
    """
    found = {c.author: "".join(kind[0] for kind in scene.outcome(c)) for c in scene.captions}
    return " ".join(found.get(author) or "-" for author in authors)


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


def _hash(script: str) -> str:
    """As a content security policy names the one script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
