"""Captions that somebody has put right: ``corrections.jsonl`` in an album.

A line says what a model wrote about a photo and what it should have written; the photo lies in the
album's hidden folder ``.corrections``, called by a hash of it. Of several lines about one photo the
last one counts. ``data=folder`` reads the file in the place of a folder of photos.
"""

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from repic import files
from repic.data.album import Album, Friend, in_brackets, read_album
from repic.data.images import FileImage
from repic.metrics.names import Lexicon

CORRECTIONS, PHOTOS = "corrections.jsonl", ".corrections"
SOMEBODY = "somebody"


@dataclass(frozen=True)
class Correction:
    """A caption and what it should have been; names are in brackets.

    Attributes:
        photo: the file, below the album.
        question: that the model was asked.
        introduced: whom its prompt introduced.
        said: what the model wrote.
        caption: put right.
        names: of those who are in the photo: whom the right caption names.
    """

    photo: str
    question: str
    introduced: tuple[str, ...]
    said: str
    caption: str
    names: tuple[str, ...]


def put_right(said: str, lexicon: Lexicon, *, wrong: Collection[str], right: Sequence[str]) -> str:
    """A caption without some names, and with others.

    Who is not there makes room for who is, in their order; left-over wrong names vanish where they
    only stand beside what they name, and else are somebody's. Left-over right ones are added.

    Args:
        said: the caption.
        lexicon: finds the names.
        wrong: names of those who are not in the photo.
        right: names of those who are.

    Example:
        >>> lexicon = Lexicon(["<Bo>", "<Li>", "<Mi>"])
        >>> put_right("A cat, <Bo>, by <Mi>.", lexicon, wrong=["<Bo>"], right=["<Li>"])
        'A cat, <Li>, by <Mi>.'
        >>> put_right("There is a cat, <Bo>.", lexicon, wrong=["<Bo>"], right=[])
        'There is a cat.'
        >>> put_right("<Bo> sits by <Mi>.", lexicon, wrong=["<Bo>", "<Mi>"], right=[])
        'Somebody sits by somebody.'
        >>> put_right("A cat sits.", lexicon, wrong=[], right=["<Li>"])
        'A cat sits. <Li> is here.'
    """
    spans = lexicon.spans(said)
    left = [name for name in right if name not in {s.name for s in spans} - set(wrong)]
    instead: dict[str, str] = {}
    for span in spans:
        if span.name in wrong and span.name not in instead:
            instead[span.name] = left.pop(0) if left else ""
    for start, end, name in reversed(spans):
        if name not in wrong:
            continue
        before, after = said[:start], said[end:]
        if new := instead[name]:
            said = before + new + after
        elif re.search(r",\s*$", before) and re.match(r"\s*([.,;!?]|$)", after):
            said = re.sub(r",\s*$", "", before) + after
        else:
            is_first = not before.strip() or before.rstrip()[-1] in ".!?"
            said = before + (SOMEBODY.capitalize() if is_first else SOMEBODY) + after
    for name in left:
        said = f"{said.rstrip()} {name} is here.".lstrip()
    return said


def save_correction(
    root: Path,
    photo: Path,
    *,
    question: str,
    introduced: Sequence[str],
    said: str,
    wrong: Collection[str] = (),
    right: Sequence[str] = (),
    words: str | None = None,
    largest: int | None,
) -> Correction:
    """Keep a photo in an album, with what was said of it and what is right.

    The line is on the disk when this returns; the photo was there before it.

    Args:
        root: the album.
        photo: the file, which is copied as it is.
        question, introduced, said: see ``Correction``.
        wrong, right: see ``put_right``.
        words: the right caption in somebody's own, with names in any spelling.
        largest: see ``FileImage``.

    Raises:
        ValueError: the photo is gone, or somebody of whom the caption knew.
    """
    try:
        suffix = FileImage(photo, largest).suffix
    except ValueError:
        raise ValueError("the photo is no longer there; choose it again") from None
    with files.only_one(root / ".lock", wanted=True):
        album = read_album(root, largest=largest, may_be_empty=True)
        for name in (*introduced, *wrong, *right):
            if name not in album.by_name:
                raise ValueError(
                    f"{name.strip('<>')} is no longer in the album; caption the photo again"
                )
        lexicon = album.lexicon()
        if words is None:
            caption = put_right(said, lexicon, wrong=wrong, right=right)
        else:
            caption = in_brackets(" ".join(words.split()), lexicon)
        present = dict.fromkeys(span.name for span in lexicon.spans(caption))
        made = Correction(
            photo=f"{PHOTOS}/{files.hash_file(photo)[:32]}{suffix}",
            question=question,
            introduced=tuple(introduced),
            said=said,
            caption=caption,
            names=tuple(name for name in present if name in album.by_name),
        )
        if not (root / made.photo).exists():
            files.write_file(root / made.photo, lambda part: shutil.copyfile(photo, part))
        files.append_line(root / CORRECTIONS, asdict(made), durable=True)
    return made


def read_corrections(file: Path) -> list[tuple[str, Correction]]:
    """All corrections that count, each with the place where it stands, for complaints.

    Raises:
        ValueError: a line is none.
    """
    found: dict[str, tuple[str, Correction]] = {}
    for place, row in files.read_rows(file, may_be_cut=True):
        one = files.as_shape(Correction, row, place)
        found[one.photo] = (place, one)
    return list(found.values())


def forget_corrections(album: Album, friend: Friend) -> None:
    """Remove every photo of which a caption names a friend, with all that is said about it.

    Who calls this holds the album's lock.
    """
    file, lexicon = album.root / CORRECTIONS, album.lexicon()
    rows = [files.as_shape(Correction, r, at) for at, r in files.read_rows(file, may_be_cut=True)]

    def names(row: Correction) -> bool:
        texts = (row.question, row.said, row.caption)
        return any(s.name == friend.name for text in texts for s in lexicon.spans(text))

    gone = {row.photo for row in rows if friend.name in row.names or names(row)}
    kept = [row for row in rows if row.photo not in gone]
    for i, row in enumerate(kept):
        introduced = tuple(name for name in row.introduced if name != friend.name)
        kept[i] = replace(row, introduced=introduced)
    if kept != rows:
        files.write_lines(file, [asdict(row) for row in kept])
    if (album.root / PHOTOS).is_dir():
        wanted = {row.photo for row in kept}
        for photo in (album.root / PHOTOS).iterdir():  # also what a kill left without its line
            if f"{PHOTOS}/{photo.name}" not in wanted:
                photo.unlink()
