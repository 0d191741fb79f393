"""The page of somebody's own photos: each with its caption, the friends' names marked."""

from collections.abc import Collection, Sequence
from math import isqrt
from pathlib import Path
from typing import Any, Protocol

from repic.data.album import Album, Friend
from repic.data.clips import open_picture
from repic.data.images import FileImage
from repic.files import write_text
from repic.metrics.names import Lexicon
from repic.page import pictures
from repic.page.cards import cut_at
from repic.page.page import CSS, TEMPLATES, PagePictures, box_style

_PHOTO, _FRIEND = 640, 128  # widths in pixels
_MOST_PIXELS = 100 * _PHOTO**2  # of all photos, about: beyond 100 each is shown smaller
_FRAMES = 4  # of a film


class PhotoWithCaption(Protocol):
    """What the page shows of a photo; see ``repic.captioners.photos.Captioned``."""

    photo: str
    caption: str
    boxes: Any
    introduced: Any
    left_out: Any
    finished: bool


def write_photos_page(path: Path, album: Album, results: Sequence[PhotoWithCaption]) -> None:
    """Write one self-contained page, whole or not at all.

    Args:
        path: the file.
        album: the friends.
        results: the photos, in the order in which they are shown.
    """
    width = max(_FRIEND, min(_PHOTO, isqrt(_MOST_PIXELS // max(len(results), 1))))
    largest = min(width, album.largest or width)  # read as small as shown, which is quicker
    albums = PagePictures(pictures.Album(width), pictures.Album(_FRIEND))
    lexicon = album.lexicon()
    page = TEMPLATES.get_template("photos.html.j2").render(
        title=album.root.absolute().name,
        friends=[(friend, albums.references.add(_first(friend))) for friend in album.friends],
        photos=[
            (
                result,
                albums.scenes.add(
                    open_picture(Path(result.photo), largest=largest, frames=_FRAMES)
                ),
                segments(result.caption, album.by_name, lexicon),
            )
            for result in results
        ],
        albums=albums,
        box_style=box_style,
        css=CSS,
    )
    write_text(path, albums.put_into(page))


def _first(friend: Friend) -> FileImage | None:
    return friend.photos[0] if friend.photos else None


def segments(caption: str, names: Collection[str], lexicon: Lexicon) -> list[tuple[str, bool]]:
    """Cut a caption into texts, and whether each is the name of a friend.

    Example:
        >>> segments("Here sits Bo.", ["<Bo>"], Lexicon(["<Bo>"]))
        [('Here sits ', False), ('Bo', True), ('.', False)]
    """
    spans = (span for span in lexicon.spans(caption) if span.name in names)
    return [(text, name is not None) for text, name in cut_at(spans, caption)]
