"""An album: a folder for each friend, with photos of them. No other file is needed.

    album/<name>/*.jpg ...       the folder's name is the friend's
    album/<name>/about.yaml      may say name (in any script), info, aliases and category
    album/album.yaml             may say how a model is asked about the album: prompt, questions

Hidden files, and files that are no pictures, are passed over; pictures in other places, too, with a
word in the log.
"""

import logging
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from repic.files import as_shape, files_below
from repic.metrics.names import END_MARKS, Lexicon, key_of
from repic.settings import read_yaml
from repic.types import Reference
from repic.words import counted, normal

from .concepts import Naming
from .images import PICTURES, FileImage
from .prompts import PLACEHOLDER, PromptTemplate

log = logging.getLogger(__name__)

ABOUT, SETTINGS = "about.yaml", "album.yaml"
LONGEST_NAME = 100  # characters; a prompt says it, and every caption should
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # the order of letters
LAYOUT = "an album is a folder with a folder of photos for each friend, named as the friend is"


@dataclass(frozen=True)
class _Settings:
    """What ``album.yaml`` may say."""

    prompt: dict[str, str | None] = field(default_factory=dict)
    questions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Friend:
    """Somebody, or something, with a name.

    Attributes:
        name: in brackets, as prompts and captions have it.
        info: a sentence about them; None if there is none.
        category: what they are, such as "cat"; empty if nobody says so.
        aliases: other names, without brackets.
        folder: where the photos are.
        photos: of them, in the order of the files' names; those before all others come first.
    """

    name: str
    info: str | None
    category: str
    aliases: tuple[str, ...]
    folder: Path
    photos: tuple[FileImage, ...]

    @property
    def reference(self) -> Reference:
        """With the first photo."""
        return Reference(self.name, self.info, self.photos[0] if self.photos else None)


@dataclass(frozen=True)
class Album:
    """All friends, in the order of their folders.

    Attributes:
        prompt: words the prompts; None leaves them to who asks.
        questions: likewise; there may be none.
    """

    root: Path
    friends: tuple[Friend, ...]
    prompt: PromptTemplate | None
    questions: tuple[str, ...]
    largest: int | None = None  # see ``FileImage``

    @cached_property
    def by_name(self) -> dict[str, Friend]:
        """Friends by their names, in brackets."""
        return {friend.name: friend for friend in self.friends}

    @cached_property
    def _spellings(self) -> dict[str, Friend]:
        called = {key_of(friend.folder.name): friend for friend in self.friends}
        return called | {key_of(name): f for f in self.friends for name in (f.name, *f.aliases)}

    def find(self, name: str) -> Friend | None:
        """Whom a name means, in any spelling: it may be an alias, or a folder's name."""
        return self._spellings.get(key_of(name))

    def lexicon(self) -> Lexicon:
        """Finds names in captions."""
        return Lexicon(self.by_name, aliases={f.name: f.aliases for f in self.friends})


def read_album(root: Path, *, largest: int | None, may_be_empty: bool = False) -> Album:
    """Read an album; photos are looked at when they are needed.

    Args:
        root: the folder.
        largest: see ``FileImage``.
        may_be_empty: take one that nobody is in yet.

    Raises:
        ValueError: there is no such folder or nobody in it; a friend without photo and info; a
            name that cannot be one, or that two have.
    """
    if not root.is_dir():
        problem = "is no folder" if root.exists() else "there is no such folder"
        raise ValueError(f"{root}: {problem}; {LAYOUT}")
    folders = sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    friends = tuple(_read_friend(folder, largest) for folder in folders)
    if not friends and not may_be_empty:
        raise ValueError(f"{root}: nobody is in it; {LAYOUT}")
    _refuse_namesakes(friends)
    if strays := _strays(root, friends):
        _tell_of_strays(root, strays[0], len(strays))
    return Album(root, friends, *_read_settings(root / SETTINGS), largest)


def _strays(root: Path, friends: Sequence[Friend]) -> list[Path]:
    """Pictures that are no friend's photos, and links that lead to none."""
    read = {photo.path for friend in friends for photo in friend.photos}
    there = [*root.iterdir(), *(file for f in friends for file in files_below(f.folder))]
    pictures = {p for p in there if p.suffix.lower() in PICTURES and p.name[0] != "."}
    return sorted(path for path in pictures - read if not path.is_dir())


@cache  # an album is read again and again
def _tell_of_strays(root: Path, first: Path, number: int) -> None:
    log.warning(
        "%s: passes over %s, %s first; a friend's photos lie in the friend's own folder, and links"
        " lead to one",
        root,
        counted(number, "picture"),
        first.relative_to(root),
    )


def pictures_in(places: Iterable[Path], *, kinds: Collection[str] = PICTURES) -> Iterator[Path]:
    """All picture files of some files and folders, folders (and links to some) in them, each once.

    What is named is taken whatever it is called; in folders, what is hidden is passed over.

    Args:
        places: the files and folders.
        kinds: how the names of those in folders end.

    Raises:
        ValueError: something that is named is not there.
    """
    seen = set()
    for place in places:
        if not place.exists():
            raise ValueError(f"{place}: there is no such photo or folder; mend the path")
        found = [place]
        if place.is_dir():
            inside = sorted(files_below(place))
            found = [path for path in inside if _is_picture(path, kinds)]
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path


def _is_picture(path: Path, kinds: Collection[str] = PICTURES) -> bool:
    return path.suffix.lower() in kinds and path.is_file()


def _read_friend(folder: Path, largest: int | None) -> Friend:
    about = folder / ABOUT
    refuse_misnamed(about)
    said = Naming()
    if about.exists():
        said = as_shape(Naming, read_yaml(about) or {}, str(about), is_closed=True)
    place = f"{about}, key 'name'" if said.name else f"{folder}: the folder's name"
    photos = sorted(p for p in folder.iterdir() if _is_picture(p) and p.name[0] != ".")
    if not photos and not said.info.strip():
        raise ValueError(
            f"{folder}: has no photo that can be read ({', '.join(sorted(PICTURES))}), and no"
            f" {ABOUT} with an info; add one, or remove the folder"
        )
    return Friend(
        name=bracketed(said.name or folder.name, place),
        info=one_line(said.info, f"{about}, key 'info'") or None,
        category=said.category.strip(),
        aliases=tuple(
            bracketed(alias, f"{about}, key 'aliases.{number}'", mend="take another alias")[1:-1]
            for number, alias in enumerate(said.aliases)
            if alias.strip()
        ),
        folder=folder,
        photos=tuple(FileImage(photo, largest) for photo in photos),
    )


def bracketed(name: str, place: str, *, mend: str = f"take another name in {ABOUT}") -> str:
    """A name as prompts and captions have it.

    Args:
        name: as somebody writes it.
        place: where, for complaints.
        mend: what to do about one that cannot be.

    Example:
        >>> bracketed(" Bo", ""), bracketed("<Mi Mi>", "")
        ('<Bo>', '<Mi Mi>')
    """
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if name.startswith("<") and name.endswith(">"):
        name = name[1:-1].strip()
    problem, seen = None, normal(name).text
    if not any(c.isalnum() or unicodedata.category(c) == "So" for c in seen):
        problem = "holds no letter"
    elif any(character in "<>" for character in seen):
        problem = "has an angle bracket, which in prompts and captions marks where a name ends"
    elif ";" in name:
        problem = "has a semicolon, which parts names in tables"
    elif name.startswith("/"):
        problem = "begins with a slash, as a closing tag does"
    elif any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNS for c in name):
        problem = "holds a character that cannot be seen"
    elif len(name) > LONGEST_NAME:
        problem = f"has {len(name)} characters; {LONGEST_NAME} are the most"
    elif PLACEHOLDER.fullmatch(f"<{name}>") or END_MARKS.fullmatch(f"<{name}>"):
        problem = "stands for a picture, or a text's end, in many prompts"
    if problem is not None:
        raise ValueError(f"{place}: {name[:40]!r} {problem}; {mend}")
    return f"<{name}>"


def one_line(info: str, place: str) -> str:
    """A sentence as prompts have it.

    Raises:
        ValueError: it has a mark that stands for a picture there.
    """
    info = " ".join(info.split())
    if mark := PLACEHOLDER.search(info):
        raise ValueError(
            f"{place}: {mark[0]} stands for a picture in prompts; write it without its brackets"
        )
    return info


def in_brackets(text: str, lexicon: Lexicon) -> str:
    """A caption that somebody has written, as models write it: every name in its brackets.

    Example:
        >>> in_brackets("Bo's hat and <bo>", Lexicon(["<Bo>"]))
        "<Bo>'s hat and <Bo>"
        >>> in_brackets("Here is Bo (2)!", Lexicon(["<Bo (2)>"]))
        'Here is <Bo (2)>!'
        >>> in_brackets("<bo> and <Zaza>", Lexicon(["<Bo>"]))
        '<Bo> and <Zaza>'
    """
    for start, end, name in reversed(lexicon.spans(text)):
        if name not in lexicon:
            continue  # an invention stays as it is written
        bare = name.strip("<>")  # as it stands there it may have signs that are not looked for
        whole = text.find(bare, max(0, end - len(bare)), start + len(bare))
        if whole >= 0 and text[start] != "<":
            start, end = whole, whole + len(bare)
        text = text[:start] + name + text[end:]
    return text


def _refuse_namesakes(friends: Sequence[Friend]) -> None:
    """Two whose names are spellings of one would be one to whoever reads a caption."""
    taken: dict[str, Friend] = {}
    for friend in friends:
        for name in (friend.name, *friend.aliases):
            other = taken.setdefault(key_of(name), friend)
            if other is not friend:
                raise ValueError(
                    f"{friend.folder}: {name.strip('<>')!r} is a name of {other.folder.name} as"
                    " well (capitals, spaces and hyphens make no difference); say another in its"
                    f" {ABOUT}"
                )


def refuse_misnamed(file: Path) -> None:
    """Raise where a file is not there, and one beside it is called almost so, which nobody reads.

    Example:
        >>> refuse_misnamed(Path("nowhere/about.yaml"))
    """
    if file.exists() or not file.parent.is_dir():
        return
    endings = {file.suffix, file.suffix.replace("yaml", "yml")}
    for other in sorted(file.parent.iterdir()):
        # Editors may write another ending behind the one that is said, and desktops hide it.
        called = Path(other.name.casefold().removesuffix(".txt"))
        if called.stem == file.stem and called.suffix in endings:
            raise ValueError(f"{other}: is not read under this name; call it {file.name}")


def _read_settings(file: Path) -> tuple[PromptTemplate | None, tuple[str, ...]]:
    refuse_misnamed(file)
    if not file.exists():
        return None, ()
    said = as_shape(_Settings, read_yaml(file) or {}, str(file), is_closed=True)
    prompt: dict[str, Any] = {"system": None, **said.prompt}
    if prompt.keys() - {"system", "reference", "query"}:
        unknown = min(prompt.keys() - {"system", "reference", "query"})
        raise ValueError(f"{file}, key 'prompt.{unknown}': need system, reference and query")
    for number, question in enumerate(said.questions):
        if not question.strip():
            empty = f"{file}, key 'questions.{number}'"
            raise ValueError(f"{empty}: is empty; write a question, or take it out")
    if not said.prompt:
        return None, said.questions
    if missing := [key for key in ("reference", "query") if not isinstance(prompt.get(key), str)]:
        raise ValueError(f"{file}, key 'prompt': has no {missing[0]}")
    try:
        return PromptTemplate(**prompt), said.questions
    except ValueError as error:
        raise ValueError(f"{file}: {str(error).removeprefix('data.')}") from None
