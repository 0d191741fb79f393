"""Photos of an album's friends as a data set: ``data=folder``.

Who is in a photo, and what a good caption says, is told by ``who.csv`` in the folder of photos:

    photo,names,caption
    beach/1.jpg,Bo;Mi Mi,"Bo, a cat, sits beside Mi Mi."
    empty.jpg,,

with names as the album has them, in any spelling, and a caption if there is one, in which every
name is put into brackets. Without that file the sub-folder that a photo lies in says who is in it,
where it is called as a friend is. A photo of which neither says anything is left out: nobody knows
whether a caption of it is right.

In the place of the folder there may be an album's ``corrections.jsonl``
(``repic.data.corrections``). Each is an example whose target is the caption put right and whose
``rejected`` is what the model wrote; its prompt introduces, beside those who are there, whom the
model took them for.
"""

import csv
import io
import os
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from repic.data.album import (
    Album,
    Friend,
    in_brackets,
    pictures_in,
    read_album,
    refuse_misnamed,
)
from repic.data.corrections import CORRECTIONS, read_corrections
from repic.data.images import FileImage
from repic.data.inventory import DATABASE, LEAVE, QUERY, Inventory, data_root
from repic.data.personal import spread
from repic.data.prompts import PromptTemplate
from repic.files import at, below, read_text
from repic.types import Example, Reference
from repic.values import Count, Missing, Questions, Seed, Side, Text, Whole

WHO = "who.csv"
HOW_TO_GET = (
    "An album is a folder with a folder of photos for each friend, named as the friend is:"
    " data.root=<album>; the photos to ask about lie in another: data.photos=<folder>."
)


@dataclass(frozen=True)
class Known:
    """A photo of which is known who is in it.

    Attributes:
        names: of them, in brackets; there may be none.
        caption: with names in brackets; empty if there is none.
        question: that is asked; empty: any.
        rejected: a caption that is worse; empty if there is none.
    """

    image: FileImage
    names: tuple[str, ...]
    caption: str = ""
    question: str = ""
    rejected: str = ""


class FolderDataset:
    """Photos with who is in them.

    Args:
        root: the album.
        photos: the folder of photos, or an album's corrections.
        questions: asked in turn; the album's own come before these.
        num_absent: friends to introduce who are not in the photo, as far as there are any.
        largest: longest side of a picture in pixels, to which larger ones are shrunk.
        repeat: draw ``size`` photos at random, the same one again and again if need be, and of
            each friend any photo: for training. Otherwise every photo once and first photos.
        counts: numbers of friends in a photo; others are left out.
        size: at most so many photos, spread evenly; None takes all.
        seed: decides what is drawn at random.
        missing: ``refuse`` a photo that is not there, or ``skip`` it.
        leave_root: let paths in ``who.csv`` lead out of the folder.
        captioned: leave out photos without a caption, as there is nothing to imitate.
        paired: leave out photos of which nobody has corrected a caption.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        photos: str | Path | None,
        questions: Questions,
        num_absent: Whole,
        largest: Side | None,
        repeat: bool,
        counts: Collection[int],
        size: Count | None,
        seed: Seed,
        missing: Missing = "refuse",
        leave_root: bool = False,
        captioned: bool = False,
        paired: bool = False,
    ) -> None:
        self.album = read_album(data_root(root, HOW_TO_GET), largest=largest)
        source = Path(photos or "")
        if not photos or not (is_corrections(source) or source.is_dir()):
            key = "data.train_photos" if repeat else "data.photos"
            raise ValueError(f"{key}: {photos or 'nothing'} is no folder. {HOW_TO_GET}")
        self.folder = source.parent if is_corrections(source) else source
        self._lexicon = self.album.lexicon()
        self.questions = self.album.questions or tuple(questions)
        self.num_absent, self.repeat, self.seed = num_absent, repeat, seed
        known = read_known(source, self.album, largest=largest, leave_root=leave_root)
        self.inventory = Inventory(
            files={
                DATABASE: tuple(f.photos[0].path for f in self.album.friends if f.photos),
                QUERY: tuple(photo.image.path for photo in known),
            },
            infos={friend.name: friend.info for friend in self.album.friends},
            targets=[photo.names for photo in known],
            how_to_get=HOW_TO_GET,
        )
        found, _ = self.inventory.at_hand("folder", known, lambda k: [k.image.path], missing)
        if captioned and not any(photo.caption for photo in found):
            raise ValueError(
                f"{self.folder}: no photo has a caption, which SFT learns from; write some into the"
                f" column caption of {WHO}, or go without SFT (method=rl)"
            )
        found = [photo for photo in found if photo.caption or not captioned]
        if paired and not any(photo.rejected for photo in found):
            raise ValueError(
                f"{source}: nobody has corrected a caption, which preferences are; they are in an"
                f" album's {CORRECTIONS}, and python -m repic.app writes them"
            )
        found = [photo for photo in found if photo.rejected or not paired]
        wanted = [photo for photo in found if len(photo.names) in counts]
        self.photos = wanted if repeat else spread(wanted, size)
        self.size = (size or len(wanted)) if repeat and wanted else len(self.photos)

    @cached_property
    def database(self) -> tuple[Reference, ...]:
        """Everybody in the album of whom there is a photo: the first that is not asked about.

        Raises:
            ValueError: there is only one, and it is; a retriever would find it by itself.
        """
        asked = {photo.image.content: photo.image for photo in self.photos}
        found = []
        for friend in self.album.friends:
            others = [image for image in friend.photos if image.content not in asked]
            if friend.photos and not others:
                raise _only_one(asked[friend.photos[0].content], friend)
            found += [Reference(friend.name, friend.info, image) for image in others[:1]]
        return tuple(found)

    @property
    def kinds(self) -> list[str]:
        """What friends are, as far as somebody has said so, each once."""
        return list(dict.fromkeys(f.category for f in self.album.friends if f.category))

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = random.Random(f"folder/{self.seed}/{index}")
        photo = rng.choice(self.photos) if self.repeat else self.photos[index]
        inside = [friend for friend in self.album.friends if friend.name in photo.names]
        said = {span.name for span in self._lexicon.spans(photo.rejected)} - set(photo.names)
        inside += [friend for friend in self.album.friends if friend.name in said]
        others = [friend for friend in self.album.friends if friend not in inside]
        absent = max(self.num_absent - len(inside) + len(photo.names), 0)
        shown = inside + rng.sample(others, min(absent, len(others)))
        rng.shuffle(shown)
        # relpath: with data.leave_root it may lie elsewhere.
        name = Path(os.path.relpath(photo.image.path, self.folder)).as_posix()
        return Example(
            id=f"folder/{index}/{name}" if self.repeat else f"folder/{name}",
            task="caption",
            references=tuple(self._introduced(friend, photo, rng) for friend in shown),
            query=photo.image,
            question=photo.question or self.questions[index % len(self.questions)],
            target=photo.caption,
            answers=(photo.caption,) if photo.caption else (),
            present=photo.names,
            num_concepts=len(photo.names),
            rejected=photo.rejected,
        )

    def _introduced(self, friend: Friend, photo: Known, rng: random.Random) -> Reference:
        """A friend with a photo, which is another than the one that is asked about."""
        others = [image for image in friend.photos if image.content != photo.image.content]
        if friend.photos and not others:
            raise _only_one(photo.image, friend)
        image = (rng.choice(others) if self.repeat else others[0]) if others else None
        return Reference(friend.name, friend.info, image)


def _only_one(image: FileImage, friend: Friend) -> ValueError:
    """What is wrong with asking about somebody's reference."""
    return ValueError(
        f"{image.path}: is also the only photo of {friend.name} in the album; take another photo"
        " for one of them"
    )


def prompt_of(
    root: str | Path | None, *, system: str | None, reference: Text, query: Text
) -> PromptTemplate:
    """The album's own words for prompts, or these where it has none.

    Args:
        root: the album; None, or one that is not there, has none.
        system: see ``PromptTemplate``, and so the others.
    """
    words = PromptTemplate(system=system, reference=reference, query=query)
    if not root or not Path(root).is_dir():
        return words  # whoever opens the album says so
    return read_album(Path(root), largest=None).prompt or words


class FolderCorpus:
    """The captions of a folder's ``who.csv``, for document frequencies; read when it is asked for.

    Args:
        root: the album.
        photos: folders of photos, or None; the first that has captions counts.
    """

    def __init__(
        self, root: str | Path | None, *, photos: Sequence[str | Path | None], leave_root: bool
    ) -> None:
        self.root, self.photos, self.leave_root = root, photos, leave_root

    def __iter__(self) -> Iterator[list[str]]:
        album = read_album(data_root(self.root, HOW_TO_GET), largest=None)
        folders = [Path(folder) for folder in self.photos if folder]
        for folder in folders:
            known = read_known(folder, album, largest=None, leave_root=self.leave_root)
            captions = [[photo.caption] for photo in known if photo.caption]
            if len(captions) > 1:
                return iter(captions)
        raise ValueError(
            f"{' and '.join(str(folder / WHO) for folder in folders)}: CIDEr as a reward counts"
            " words in two captions or more; write some, or choose reward=none"
        )


def is_corrections(source: Path) -> bool:
    """Whether it is an album's file of corrections, and not a folder of photos."""
    return source.name == CORRECTIONS and source.is_file()


def read_known(
    source: Path, album: Album, *, largest: int | None, leave_root: bool = False
) -> list[Known]:
    """What is known of the photos of a folder, or of those of which a caption was corrected."""
    read = corrected if is_corrections(source) else who_is_where
    return read(source, album, largest=largest, leave_root=leave_root)


def who_is_where(
    folder: Path, album: Album, *, largest: int | None, leave_root: bool = False
) -> list[Known]:
    """Who is in the photos of a folder, as far as it is told.

    Raises:
        ValueError: ``who.csv`` cannot be read, or names a friend whom the album does not have;
            nobody tells of any photo.
    """
    table = folder / WHO
    refuse_misnamed(table)
    if table.exists():
        return _read_table(table, album, largest, leave_root)
    known = []
    for path in pictures_in([folder]):
        friend = album.find(path.parent.name) if path.parent != folder else None
        if friend is not None:
            known.append(Known(FileImage(path, largest), (friend.name,)))
    if not known:
        raise ValueError(
            f"{folder}: nothing says who is in which photo; write {WHO} with the columns photo and"
            " names (Bo;Mi Mi), or put the photos into folders called as the friends are"
        )
    return known


def _read_table(table: Path, album: Album, largest: int | None, leave_root: bool) -> list[Known]:
    known: dict[Path, Known] = {}
    lexicon = album.lexicon()
    for place, row in _rows(table):
        with at(f"{place}, column 'photo'"):
            path = below(table.parent, row["photo"], may_leave=leave_root, key=LEAVE)
        if path in known:
            raise ValueError(f"{place}: {row['photo']!r} stands there twice; remove one")
        names = [_named(name, album, place) for name in row["names"].split(";") if name.strip()]
        caption = in_brackets(row.get("caption", ""), lexicon).strip()
        known[path] = Known(FileImage(path, largest), tuple(dict.fromkeys(names)), caption)
    if not known:
        raise ValueError(f"{table}: says nothing of any photo; add a line, or remove the file")
    return list(known.values())


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows that are not empty, each with its place."""
    # newline: a caption may hold what Python takes for the end of a line, and CSV does not.
    lines = csv.reader(io.StringIO(read_text(table), newline=""), strict=True)
    columns: list[str] = []
    end = 0
    try:
        for cells in lines:
            place, end = f"{table}, line {end + 1}", lines.line_num
            if not columns:
                columns = cells
                _check_columns(table, columns)
            elif any(cell.strip() for cell in cells):
                if len(cells) != len(columns):
                    raise ValueError(
                        f"{place}: has not {len(columns)} columns; put texts into quotes"
                    )
                yield place, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{table}, line {end + 1}: {error}; mend the line") from None
    _check_columns(table, columns)


def _check_columns(table: Path, columns: Sequence[str]) -> None:
    if missing := [column for column in ("photo", "names") if column not in columns]:
        there = f"; the columns are {', '.join(map(repr, columns))}" if columns else ""
        raise ValueError(f"{table}: has no column {missing[0]!r}; need photo and names{there}")
    for column in ("photo", "names", "caption"):
        if columns.count(column) > 1:
            raise ValueError(f"{table}: has the column {column!r} twice; remove one")
    if "caption" not in columns:
        like = (c for c in columns if get_close_matches(c.casefold(), ["caption"], cutoff=0.8))
        if (other := next(like, None)) is not None:
            raise ValueError(f"{table}: nothing reads the column {other!r}; call it caption")


def corrected(
    file: Path, album: Album, *, largest: int | None, leave_root: bool = False
) -> list[Known]:
    """The photos of an album's corrections, with the captions put right.

    Raises:
        ValueError: a line is no correction, or names somebody whom the album does not have.
    """
    known = []
    for place, one in read_corrections(file):
        with at(place):
            path = below(file.parent, one.photo, may_leave=leave_root, key=LEAVE)
        names = tuple(_named(name, album, place) for name in one.names)
        rejected = one.said if one.said != one.caption else ""
        image = FileImage(path, largest)
        known.append(Known(image, names, one.caption, one.question, rejected))
    if not known:
        raise ValueError(f"{file}: holds no correction yet; make some with python -m repic.app")
    return known


def _named(name: str, album: Album, place: str) -> str:
    friend = album.find(name)
    if friend is None:
        names = "; ".join(f.name.strip("<>") for f in album.friends[:10])
        raise ValueError(f"{place}: nobody in the album is called {name.strip()!r}, only {names}")
    return friend.name
