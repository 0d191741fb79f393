"""Any data of photos as an album: picture files that ``data=folder`` and ``repic.caption`` read.

    <folder>/album/<name>/1.jpg ...    everybody whom the data can introduce, with about.yaml
    <folder>/photos/...                the photos that are asked about
    <folder>/photos/who.csv            who is in which; a caption where the data has one

Files of pictures are copied as they are, drawn pictures become PNG. A photo that several prompts
ask about is one photo, in which all are whom any of them asks for.
"""

import csv
import io
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from repic import files
from repic.data.album import ABOUT, read_album
from repic.data.folder import WHO, who_is_where
from repic.data.images import FileImage
from repic.types import Example, ImageSource, Reference, picture_content


@dataclass
class _Photo:
    """One that is asked about."""

    image: ImageSource
    names: dict[str, None] = field(default_factory=dict)
    caption: str = ""


def write_as_album(
    folder: Path, examples: Iterable[Example], friends: Sequence[Reference]
) -> tuple[int, int]:
    """Write an album and its photos, whole or not at all, and read them back.

    Args:
        folder: gets ``album`` and ``photos``; what lay there is replaced.
        examples: the prompts.
        friends: everybody who may be introduced, each once.

    Returns:
        How many friends and photos there are.

    Raises:
        ValueError: a file is missing; there is nothing to write; or names cannot be those of one
            album.
    """
    photos: dict[str, _Photo] = {}
    for example in examples:
        if example.query is not None:
            photo = photos.setdefault(picture_content(example.query), _Photo(example.query))
            photo.names |= dict.fromkeys(example.present)
            photo.caption = photo.caption or next(iter(example.answers), "")
    if not friends or not photos:
        raise ValueError("there is nobody, or no photo, to write into an album")
    files.write_folder(folder, lambda part: _write(part, friends, photos.values()))
    who_is_where(folder / "photos", read_album(folder / "album", largest=None), largest=None)
    return len(friends), len(photos)


def _write(folder: Path, friends: Iterable[Reference], photos: Iterable[_Photo]) -> None:
    for number, friend in enumerate(friends, start=1):
        name = friend.name.strip("<>")
        is_safe = re.fullmatch(r"[\w()+'& -][\w.()+'& -]{0,80}", name) is not None
        home = folder / "album" / (name if is_safe else f"friend {number}")
        home.mkdir(parents=True)
        if friend.image is not None:
            _copy(friend.image, home / "1")
        about = {} if is_safe else {"name": name}
        about |= {"info": friend.info} if friend.info else {}
        if about:
            text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
            files.write_text(home / ABOUT, text)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("photo", "names", "caption"))
    for number, photo in enumerate(photos, start=1):
        path = _copy(photo.image, folder / "photos" / f"{number:04d}")
        names = ";".join(name.strip("<>") for name in photo.names)
        rows.writerow((path.name, names, photo.caption))
    files.write_text(folder / "photos" / WHO, text.getvalue())


def _copy(image: ImageSource, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, FileImage):
        path = place.with_name(place.name + image.path.suffix.lower())
        shutil.copyfile(image.path, path)
        return path
    path = place.with_name(f"{place.name}.png")
    image.load().save(path)
    return path
