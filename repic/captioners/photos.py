"""Captions of somebody's own photos, with the names of the friends in their album.

Every caption is kept as soon as it is written, by what decides it: what the model's files hold,
the words of the prompt, the photo and whoever is introduced. So an interrupted command goes on,
and a photo, a friend or a model that has changed is asked again, and nothing else is.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repic import files
from repic.data.album import Album, Friend
from repic.data.clips import FilmFile, open_picture
from repic.data.contents import prompt_content
from repic.data.images import FileImage
from repic.data.prompts import PromptTemplate
from repic.metrics.names import Lexicon, key_of
from repic.parsing import box_beside, parse_box
from repic.types import Clip, Example, Reference, picture_content

if TYPE_CHECKING:  # they bring libraries that take seconds to import, for what may be kept already
    from repic.captioners.captioner import Captioner
    from repic.retrieval.retriever import Found, Retriever

log = logging.getLogger(__name__)

KEPT, RETRIEVAL = "kept.jsonl", "retrieval"
TABLE, LIST, PAGE = "captions.csv", "captions.json", "captions.html"
UNKNOWN_COUNT = 99  # how many friends a photo shows is not known: as many as are ever retrieved


@dataclass(frozen=True)
class Captioned:
    """A photo with its caption.

    Attributes:
        photo: the file.
        caption: as people write, without brackets around the names of the album.
        said: as the model wrote it.
        names: of friends whom the caption names, in the order in which it does.
        boxes: where in the photo those are whom the caption names: by itself, or else by the
            retriever's crop; x0, y0, x1, y1 as shares of its width and height. Of others nothing
            is known.
        introduced: whom the prompt introduces, with the retriever's similarity if there was one.
        left_out: whom the retriever has found as well, and the prompt has no room for.
        seconds: that the model took, shared evenly by the photos that it captioned together.
        finished: False where the caption was cut at the longest length.
        when: of a film, at which seconds the caption says that they are there; of the frames that
            the model saw.
    """

    photo: str
    caption: str
    said: str
    names: tuple[str, ...]
    boxes: Mapping[str, tuple[float, ...]]
    introduced: Mapping[str, float | None]
    left_out: Mapping[str, float]
    seconds: float
    finished: bool
    when: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class PassedOver:
    """A photo without a caption, and why."""

    photo: str
    problem: str


@dataclass(frozen=True)
class _Photos:
    """Examples that are looked up in one album."""

    examples: Sequence[Example]
    database: Sequence[Reference]
    kinds: Sequence[str]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


@dataclass
class PhotoCaptioner:
    """Captions photos with an album's names.

    Attributes:
        album: who may be in them.
        captioner: makes what writes, when a caption is wanted that is not kept.
        key: hash of all that decides a caption, the prompt aside.
        prompt: words the prompt, for the keys of what is kept.
        question: about every photo.
        clip_question: about every film.
        frames: of a film that are shown.
        retriever: makes what chooses whom the prompt introduces; None: everybody, who may be
            ``most``.
        most: friends that a prompt introduces at most without a retriever.
        largest: see ``FileImage``.
        folder: where captions and indices are kept.
        portion: photos captioned together.
    """

    album: Album
    captioner: Callable[[], "Captioner"]
    key: str
    prompt: PromptTemplate
    question: str
    clip_question: str
    frames: int
    retriever: Callable[[], "Retriever"] | None
    most: int
    largest: int | None
    folder: Path
    portion: int

    def __post_init__(self) -> None:
        self._is_prepared = False
        friends = len(self.album.friends)
        if self.retriever is None and friends > self.most:
            raise ValueError(
                f"{self.album.root}: {friends} friends are more than a prompt introduces"
                f" (most={self.most}); let retrieval=efficientnet, or another of that group, choose"
                " for each photo, or raise most"
            )
        pictured = [friend.reference for friend in self.album.friends if friend.photos]
        self.database = pictured if self.retriever else [f.reference for f in self.album.friends]
        self._lexicon = self.album.lexicon()
        self._album_key = files.key_of([self.key, self._album_content()])
        kept = self.folder / KEPT
        rows = files.read_lines(
            kept, key=str, said=str, introduced=dict, seconds=float, finished=bool
        )
        if kept.exists() and not kept.read_bytes().endswith(b"\n"):
            files.write_lines(kept, rows)  # without the line that an interruption cut short
        self._kept: dict[str, dict[str, Any]] = {row["key"]: row for row in rows}

    @cached_property
    def _captioner(self) -> "Captioner":
        return self.captioner()

    @cached_property
    def _retriever(self) -> "Retriever | None":
        return self.retriever() if self.retriever else None

    def _album_content(self) -> list[object]:
        words = self.prompt.messages(self._example("", None, self.database))
        said = [repr(item) for message in words for item in message["content"] if "text" in item]
        shown = [picture_content(r.image) for r in self.database if r.image]
        return [said, shown, [[f.name, f.category, *f.aliases] for f in self.album.friends]]

    def caption(self, photos: Sequence[Path]) -> Iterator[Captioned | PassedOver]:
        """Yield every photo with its caption, or why it has none, as soon as that is known.

        Those that are known already come first, and cost nothing.
        """
        new: list[tuple[str, FileImage | FilmFile]] = []
        for path in photos:
            shown = displayed(path)
            if shown != str(path):
                yield PassedOver(shown, "its name is not UTF-8 text; rename it")
                continue
            image = open_picture(path, largest=self.largest, frames=self.frames)
            asked = [self.clip_question] if isinstance(image, FilmFile) else []
            try:
                key = files.key_of([self._album_key, image.content, *asked])
            except OSError as error:
                yield PassedOver(shown, f"cannot be read ({error.strerror})")
                continue
            if key in self._kept:
                yield self._result(path, self._kept[key])
            else:
                new.append((key, image))
        # For files that cannot be read no model is loaded, time and again, to say that of them.
        while new and (passed := _unreadable(new[0][1])) is not None:
            yield passed
            del new[0]
        if new:
            self._prepare()
        for first in range(0, len(new), self.portion):
            yield from self._caption_anew(new[first : first + self.portion])

    def _prepare(self) -> None:
        """Load what is needed for every photo, so that what is wrong with it is no photo's fault.

        Raises:
            ValueError: the model, the retriever, or a friend's photo cannot be read.
        """
        if self._is_prepared:
            return
        for reference in self.database:
            if reference.image is not None:
                reference.image.load()
        same: dict[str, str] = {}
        for reference in self.database:
            if reference.image is not None:
                other = same.setdefault(picture_content(reference.image), reference.name)
                if other != reference.name:
                    pair = f"{_bare(other)} and {_bare(reference.name)}"
                    log.warning("%s have the same first photo; give one of them another", pair)
        unseen = [_bare(friend.name) for friend in self.album.friends if not friend.photos]
        if self._retriever is not None:
            _ = self._retriever.embedder.version  # which loads it
            if unseen:
                log.warning("without a photo nobody finds %s; add one", ", ".join(unseen))
        self._captioner.write([])
        self._is_prepared = True

    def _caption_anew(
        self, photos: Sequence[tuple[str, FileImage | FilmFile]]
    ) -> Iterator[Captioned | PassedOver]:
        """A portion; where something is wrong with one of its photos, each by itself."""
        try:
            rows = self._rows([image for _, image in photos], [key for key, _ in photos])
        except ValueError as error:
            if len(photos) > 1:
                for photo in photos:
                    yield from self._caption_anew([photo])
            else:
                yield _passed_over(photos[0][1], error)
            return
        for row, (_, image) in zip(rows, photos, strict=True):
            yield self._result(image.path, row)

    def _rows(
        self, images: Sequence[FileImage | FilmFile], keys: Sequence[str]
    ) -> list[dict[str, Any]]:
        begun = time.perf_counter()
        queries = [i.clip() if isinstance(i, FilmFile) else i for i in images]
        asked = [self._example(query.key, query, self.database) for query in queries]
        found: Sequence[Sequence[Found] | None] = [None] * len(asked)
        if self._retriever is not None:
            kinds = list(dict.fromkeys(f.category for f in self.album.friends if f.category))
            photos = _Photos(asked, self.database, kinds)
            found = self._retriever.find(photos, folder=self.folder / RETRIEVAL)
        while True:
            try:
                return self._write(self._introduce(asked, found), keys, found, begun)
            except ValueError as error:
                found = [_without_last(error, found)]

    def _introduce(
        self, asked: Sequence[Example], found: "Sequence[Sequence[Found] | None]"
    ) -> Sequence[Example]:
        """The examples with whom a retriever found, if there was one."""
        known = {reference.name: reference for reference in self.database}
        return [
            example
            if some is None
            else replace(example, references=tuple(known[one.name] for one in some if one.fits))
            for example, some in zip(asked, found, strict=True)
        ]

    def _write(
        self,
        asked: Sequence[Example],
        keys: Sequence[str],
        found: "Sequence[Sequence[Found] | None]",
        begun: float,
    ) -> list[dict[str, Any]]:
        """Let the captioner write what no earlier prompt of the same words and pictures got."""
        prompts = [
            files.key_of([self.key, prompt_content(example, self.prompt.messages)[1:]])
            for example in asked  # without the id: what a photo is called decides nothing
        ]
        new = [i for i, prompt in enumerate(prompts) if prompt not in self._kept]
        captions = self._captioner.write([asked[i] for i in new]) if new else []
        written = dict(zip(new, captions, strict=True))
        seconds = (time.perf_counter() - begun) / max(len(asked), 1)
        rows = []
        for i, (example, key, some) in enumerate(zip(asked, keys, found, strict=True)):
            row: dict[str, Any] = {"seconds": round(seconds, 3)}
            if i in written:
                row |= {"said": written[i].text, "finished": written[i].finished}
            else:
                row |= {k: self._kept[prompts[i]][k] for k in ("said", "finished", "seconds")}
            row |= _whereabouts(example, row["said"], some)
            for each in {key, prompts[i]} - self._kept.keys():
                self._kept[each] = {"key": each, **row}
                files.append_line(self.folder / KEPT, self._kept[each])
            rows.append(row)
        return rows

    def _example(
        self, name: str, image: FileImage | Clip | None, references: Sequence[Reference]
    ) -> Example:
        return Example(
            id=name,
            task="caption",
            references=tuple(references),
            query=image,
            question=self.clip_question if isinstance(image, Clip) else self.question,
            num_concepts=UNKNOWN_COUNT,
        )

    def _result(self, path: Path, row: Mapping[str, Any]) -> Captioned:
        said = row["said"]
        caption, names = as_people_write(said, self.album.by_name, self._lexicon)
        boxes = {name: _shares(row, box) for name, box in row.get("seen", {}).items()}
        for start, end, name in reversed(self._lexicon.spans(said)):
            box = box_beside(said, start, end) if "times" not in row else None
            if box is not None and "size" in row:
                boxes[name] = _shares(row, box) or boxes.get(name)
        found = {_bare(name): box for name, box in boxes.items() if box is not None}
        return Captioned(
            photo=str(path),
            caption=caption,
            said=said,
            names=names,
            boxes={name: found[name] for name in names if name in found},
            introduced={_bare(name): value for name, value in row["introduced"].items()},
            left_out={_bare(name): value for name, value in row.get("left_out", {}).items()},
            seconds=row["seconds"],
            finished=row["finished"],
            when=self._when(said, row["times"]) if "times" in row else {},
        )

    def _when(self, said: str, seconds: Sequence[float]) -> dict[str, tuple[float, ...]]:
        from repic.metrics.captions.when import seen

        there = set(seen(said, self._lexicon, seconds))
        times = {
            _bare(name): tuple(second for second in seconds if (key_of(name), second) in there)
            for name in self.album.by_name
        }
        return {name: found for name, found in times.items() if found}


def _unreadable(image: FileImage | FilmFile) -> PassedOver | None:
    """What is wrong with a file; None if it can be read."""
    try:
        image.load()
    except ValueError as error:
        return _passed_over(image, error)
    return None


def _passed_over(image: FileImage | FilmFile, error: ValueError) -> PassedOver:
    path = str(image.path)
    return PassedOver(path, str(error).removeprefix(f"{path}: "))


def as_people_write(
    said: str, known: Collection[str], lexicon: Lexicon
) -> tuple[str, tuple[str, ...]]:
    """A model's caption without the brackets around names, and those names, each once.

    Args:
        said: the caption.
        known: names, in brackets; others keep theirs.
        lexicon: finds them.

    Example:
        >>> as_people_write("<bo>'s <hat>", ["<Bo>"], Lexicon(["<Bo>"]))
        ("Bo's <hat>", ('Bo',))
    """
    names, caption = [], said
    for start, end, name in reversed(lexicon.spans(said)):
        if name in known:
            names.append(_bare(name))
            caption = caption[:start] + _bare(name) + caption[end:]
    return caption, tuple(dict.fromkeys(reversed(names)))


def forget_captions(folder: Path, album: Album, friend: Friend) -> None:
    """Remove what is kept of a friend where an album's captions are: captions, indices, pages.

    Tables and the page hold everybody's; the next command writes them again without the model.
    Who calls this holds the folder's lock.
    """
    for name in (TABLE, LIST, PAGE):
        (folder / name).unlink(missing_ok=True)
    for entries in (folder / RETRIEVAL).glob("*/entries.json"):
        text = entries.read_text(encoding="utf-8", errors="replace")
        if json.dumps(friend.name) in text or json.dumps(friend.name, ensure_ascii=False) in text:
            shutil.rmtree(entries.parent)
    lexicon = album.lexicon()

    def names(row: Mapping[str, Any]) -> bool:
        shown = (row.get(key, {}) for key in ("introduced", "left_out", "seen"))
        said = {span.name for span in lexicon.spans(row["said"])}
        return friend.name in said.union(*shown)

    rows = files.read_lines(folder / KEPT, said=str)
    if any(map(names, rows)):
        files.write_lines(folder / KEPT, [row for row in rows if not names(row)])


def _without_last(error: ValueError, found: "Sequence[Sequence[Found] | None]") -> "list[Found]":
    """Leave the least similar out of a prompt that was too long for the model; raise other errors.

    Where a portion of several was, its photos are captioned each by itself.
    """
    from repic.models.engine.sampling import TooLongError

    some = found[0] or ()
    fitting = [one for one in some if one.fits]
    if not isinstance(error, TooLongError) or len(found) > 1 or not fitting:
        raise error
    return [one._replace(fits=one.fits and one is not fitting[-1]) for one in some]


def displayed(path: Path) -> str:
    """A path that can be printed and written down, whatever bytes are in it."""
    return os.fsencode(path).decode("utf-8", "replace")


def _bare(name: str) -> str:
    return name.strip("<>")


def _whereabouts(example: Example, said: str, some: "Sequence[Found] | None") -> dict[str, Any]:
    """Whom the prompt introduces and leaves out, and what is known of where they are.

    Boxes are in pixels of a picture of the size that is kept beside them.
    """
    row: dict[str, Any] = {"introduced": dict.fromkeys(example.pool)}
    if some is not None:
        found = {one.name: round(one.similarity, 4) for one in some}
        row["introduced"] = {one.name: found[one.name] for one in some if one.fits}
        row["left_out"] = {one.name: found[one.name] for one in some if not one.fits}
        row["seen"] = {one.name: one.box for one in some}
    if isinstance(example.query, Clip):
        row["times"] = [frame.second for frame in example.query.frames]
    if (some or parse_box(said)) and example.query is not None:
        row["size"] = example.query.load().size
    return row


def _shares(row: Mapping[str, Any], box: Sequence[float]) -> tuple[float, ...] | None:
    """A box as shares of the picture's sides; None for one that is empty, or all of it."""
    sides = (*row["size"], *row["size"])
    cut = tuple(round(min(max(x / side, 0.0), 1.0), 4) for x, side in zip(box, sides, strict=True))
    is_some = cut[0] < cut[2] and cut[1] < cut[3]
    return cut if is_some and cut != (0, 0, 1, 1) else None
