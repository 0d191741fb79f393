"""Changes of an album: friends come and go, and captions are put right.

Each change is there as a whole or not at all, and holds the album's lock (``.lock`` in it), so
that several programs may make some at once. What friends and photos are called elsewhere never
becomes a path: a folder is called as its friend where that is a plain name, and photos are counted.
"""

import re
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from repic import files
from repic.data.album import ABOUT, Album, Friend, bracketed, one_line, read_album
from repic.data.corrections import forget_corrections
from repic.data.images import FileImage

LARGEST_UPLOAD = 50_000_000  # bytes of a photo; a telephone's of 200 megapixels has about 40
MOST_PHOTOS = 50  # of a friend, at once
LONGEST_INFO = 500  # characters; every prompt that introduces the friend says them
_LONGEST_FOLDER = 120  # bytes; file systems take 255, and what is beside it is called longer
_OTHER = "take another name"


def add_friend(
    root: Path, name: str, info: str, photos: Sequence[Path], *, largest: int | None
) -> Friend:
    """Put somebody new into an album.

    Args:
        root: the album.
        name: with or without brackets, in any script.
        info: a sentence about them; may be empty.
        photos: files to copy, as they are; the first one is what prompts show.
        largest: see ``FileImage``.

    Raises:
        ValueError: the name cannot be one or is taken, there is neither photo nor info, or one of
            the photos is none that can be read; nothing has changed then.
    """
    called = bracketed(name, "the name", mend=_OTHER)
    info = one_line(info, "the sentence")
    if not photos and not info:
        raise ValueError(f"{called.strip('<>')} has no photo; add one, or a sentence about them")
    if len(photos) > MOST_PHOTOS:
        raise ValueError(f"{len(photos)} photos are too many at once; {MOST_PHOTOS} are the most")
    if len(info) > LONGEST_INFO:
        raise ValueError(
            f"the sentence has {len(info)} characters, and may have {LONGEST_INFO}; shorten it"
        )
    suffixes = [checked_upload(photo, largest) for photo in photos]
    bare = called.strip("<>")
    folder = root / _folder_name(bare)
    about = {"name": bare} if bare != folder.name else {}
    about |= {"info": info} if info else {}

    def write(part: Path) -> None:
        for number, (photo, suffix) in enumerate(zip(photos, suffixes, strict=True), start=1):
            shutil.copyfile(photo, part / f"{number:0{len(str(len(photos)))}}{suffix}")
        if about:
            text = yaml.safe_dump(about, allow_unicode=True, sort_keys=False)
            (part / ABOUT).write_text(text, encoding="utf-8")

    with files.only_one(root / ".lock", wanted=True):
        album = read_album(root, largest=largest, may_be_empty=True)
        if (other := album.find(bare)) is not None:
            raise ValueError(
                f"the name: {other.name.strip('<>')} is in the album already (capitals, spaces and"
                f" hyphens make no difference); {_OTHER}"
            )
        if folder.exists():
            raise ValueError(f"the name: there is something called {folder.name}; {_OTHER}")
        files.write_folder(folder, write)
        return read_album(root, largest=largest).by_name[called]


def remove_friend(album: Album, friend: Friend, *, forget: Callable[[], object]) -> None:
    """Take somebody out of an album, with all photos and all corrections that name them.

    The folder goes last: what an interruption leaves can be removed by the same call.

    Args:
        album: as it was read.
        friend: of the album.
        forget: removes what is kept elsewhere of them.
    """
    with files.only_one(album.root / ".lock", wanted=True):
        forget_corrections(album, friend)
        forget()
        gone = friend.folder.with_name(f".{friend.folder.name[:40]}.gone.part")
        shutil.rmtree(gone, ignore_errors=True)
        if friend.folder.is_symlink():
            friend.folder.unlink()  # what it leads to is somebody else's
        else:
            friend.folder.rename(gone)  # at once, so that no album is read with half of them
            shutil.rmtree(gone)


def checked_upload(photo: Path, largest: int | None) -> str:
    """How a file of this photo's kind is called.

    Raises:
        ValueError: it is too large, or none that can be read; names it without its folder.
    """
    try:
        if (size := photo.stat().st_size) > LARGEST_UPLOAD:
            most = LARGEST_UPLOAD // 10**6
            raise ValueError(f"{photo}: has {size / 1e6:.0f} MB, and may have {most}")
        return FileImage(photo, largest).suffix
    except OSError as error:
        why = error.strerror
        raise ValueError(f"{photo.name}: cannot be read ({why}); choose it again") from None
    except ValueError as error:
        raise ValueError(str(error).replace(str(photo), photo.name)) from None


def _folder_name(bare: str) -> str:
    """A name as a folder's, on every system; where it cannot be one, something that can.

    Example:
        >>> _folder_name("Mi Mi"), _folder_name("小白"), _folder_name("../x")[:7]
        ('Mi Mi', '小白', 'friend_')
    """
    plain = re.fullmatch(r"\w(?:[\w '-]*\w)?", bare) is not None
    is_shown = not any(unicodedata.category(character) == "Cf" for character in bare)
    is_device = re.fullmatch(r"(?i)con|prn|aux|nul|(com|lpt)\d", bare) is not None
    if plain and is_shown and not is_device and len(bare.encode()) <= _LONGEST_FOLDER:
        return bare
    return f"friend_{files.key_of(bare)[:10]}"
