"""Parts of the page on which people work on an album: its friends, a photo with its caption.

All that is text is escaped.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from repic.data.album import Album, Friend
from repic.data.images import FileImage
from repic.page import pictures
from repic.page.page import TEMPLATES, box_style
from repic.page.photos_page import segments
from repic.types import Box

PHOTO, FRIEND = 960, 160  # widths in pixels
_QUALITY = pictures.Encoding(85, 1.0)
_HERE = Path(__file__).parent
CSS = (_HERE / "app.css").read_text(encoding="utf-8")
_parts: Any = TEMPLATES.from_string((_HERE / "parts.html.j2").read_text(encoding="utf-8")).module


def picture_html(
    photo: Path, largest: int | None, boxes: Mapping[str, Sequence[float]], alt: str
) -> str:
    """A photo, and where who is named was seen.

    Args:
        photo: the file.
        largest: see ``FileImage``.
        boxes: name -> box in shares of the photo's sides.
        alt: what is to be seen, for who does not see it.

    Raises:
        ValueError: the photo cannot be read.
    """
    image = FileImage(photo, largest).load()
    places = [(name, box_style(Box(*box), (1, 1))) for name, box in boxes.items()]
    image.thumbnail((PHOTO, PHOTO))
    uri = pictures.as_uri(image, _QUALITY)
    return str(_parts.picture(uri, image.size, places, alt))


def caption_html(album: Album, text: str, *, note: str = "", is_going: bool = False) -> str:
    """A caption with the friends' names marked.

    Args:
        album: the friends.
        text: the caption, or as much of it as is written, with brackets around names or without.
        note: said below it.
        is_going: whether more is to come.
    """
    lexicon = album.lexicon()
    parts = segments(text, album.by_name, lexicon)
    parts = [
        (t.removeprefix("<").removesuffix(">") if is_name else t, is_name) for t, is_name in parts
    ]
    return str(_parts.caption(parts, note, is_going))


def by_name(album: Album) -> list[Friend]:
    """An album's friends as people look for them; folders may be called otherwise."""
    return sorted(album.friends, key=lambda friend: friend.name.casefold())


def friends_html(album: Album, address: Callable[[Friend], str]) -> str:
    """Everybody in an album, with a small picture.

    Args:
        album: the friends.
        address: where a friend's picture is served.
    """
    return str(_parts.friends([(f, address(f)) for f in by_name(album)]))


def heading_html(text: str, level: int = 1) -> str:
    """A heading."""
    return str(Markup("<h{0}>{1}</h{0}>").format(level, text))


def note_html(text: str, *, is_problem: bool = False) -> str:
    """What has happened, for eyes and for screen readers."""
    return str(_parts.told(text, is_problem)) if text else ""


def thumbnail(friend: Friend) -> bytes:
    """A friend's first photo as WebP; nothing if there is none that can be read."""
    try:
        image = friend.photos[0].load()
    except (IndexError, ValueError):
        return b""
    image.thumbnail((FRIEND, FRIEND))
    return pictures.as_webp(image, _QUALITY)
