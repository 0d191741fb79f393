"""Questions about friends with answers to choose from, and those that Yo'LLaVA and RAP publish.

Of their files, https://github.com/WisconsinAIVision/YoLLaVA has the one with pictures, and
https://github.com/Hoar012/RAP-MLLM (``eval/``) both:

    visual: {"bo": {"./yollava-data/test/bo/0.png": {"question": "What is sks wearing?",
                    "options": {"A": "A hat", "B": "A scarf"}, "correct_answer": "A"}}}
    text:   {"bo": {"0": {"question": "Is sks a dog or a cat?",
                    "option": {"A": "Dog", "B": "Cat"}, "correct_answer": "A"}}}

"sks" stands for the name. A concept database in the layout of ``concepts`` introduces the friends,
each with picture and info. Deviation: in RAP's code the reference is retrieved by the name in the
question, which here is there from the beginning.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic.files import as_shape, read_json
from repic.parsing import LETTERS, check_asks, with_options
from repic.types import TEXT, VISUAL, Choice, Example
from repic.values import Missing, Text

from .concepts import Concept, Folders, image_at, read_concepts
from .images import FileImage
from .inventory import DATABASE, QUERY, Inventory, data_root, once, telling

_SKS = re.compile(r"<sks>|\bsks\b")


@dataclass(frozen=True)
class _Row:
    """A question as the files have it."""

    question: str
    options: dict[str, str]
    correct_answer: str


@dataclass(frozen=True)
class _Asked:
    """A row, read: whom it is about, and what is shown."""

    kind: str
    key: str
    concept: Concept
    question: str
    options: tuple[str, ...]
    answer: int
    image: FileImage | None


class PublishedChoices:
    """The questions of published files, those with pictures first.

    Args:
        root: folder that holds the data; None, or one that is missing, is refused with
            ``how_to_get``.
        visual, text: files of questions, relative to ``root``; None leaves one out.
        database: concept database, relative to ``root``.
        folders: see ``concepts.Folders``.
        asks: the words of a prompt, with ``{question}`` and ``{options}``.
        missing: see ``PhotoDataset``.
        how_to_get: what to download and where to put it, for the error message.
        leave_root: let paths in the files, and links, lead out of ``folders``.
    """

    def __init__(
        self,
        root: Text | Path | None,
        *,
        visual: Text | None,
        text: Text | None,
        database: Text,
        folders: Mapping[str, Text],
        asks: Text,
        missing: Missing,
        how_to_get: Text,
        leave_root: bool = False,
    ) -> None:
        check_asks(asks, "data.ask.questions.asks")
        if visual is None and text is None:
            raise ValueError("data.ask.questions: visual and text are both null; name a file")
        self._asks = asks
        places = Folders(data_root(root, how_to_get), folders, leave_root)
        with telling(how_to_get):
            concepts = read_concepts(places.root / database, places)
            rows: list[_Asked] = []
            for file, kind in ((visual, VISUAL), (text, TEXT)):
                if file is not None:
                    rows += _read(places.root / file, kind, concepts, places)
        self.inventory = Inventory(
            files={
                DATABASE: once(row.concept.image.path for row in rows),
                QUERY: once(row.image.path for row in rows if row.image),
            },
            infos={row.concept.name: row.concept.info for row in rows},
            targets=[(row.concept.name,) for row in rows],
            how_to_get=how_to_get,
        )
        self._rows, _ = self.inventory.at_hand("the questions", rows, _files_of, missing)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Choice:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self._rows[index]
        letter = LETTERS[row.answer]
        example = Example(
            id=f"{row.kind}/{row.concept.name}/{row.key}",
            task=f"ask/{row.kind}",
            references=(row.concept.reference,),
            query=row.image,
            question=with_options(self._asks, row.question, row.options),
            target=letter,
            answers=(letter,),
            present=() if row.image is None else (row.concept.name,),
            num_concepts=1,
        )
        return Choice(example, row.options, row.answer)


def _files_of(row: _Asked) -> list[Path]:
    return [row.concept.image.path, *([row.image.path] if row.image else [])]


def _read(file: Path, kind: str, concepts: Mapping[str, Concept], folders: Folders) -> list[_Asked]:
    """Read a file of questions; a row is named by its friend and its key."""
    rows = []
    table = as_shape(dict[str, dict[str, dict[str, Any]]], read_json(file), str(file))
    for bare, questions in table.items():
        name = f"<{bare}>"
        if name not in concepts:
            raise ValueError(
                f"{file}, key {bare!r}: {name} is not in the concept database"
                f" ({len(concepts)} concepts); add the concept, or take the questions out"
            )
        if kind == TEXT and concepts[name].info is None:
            raise ValueError(
                f"{file}, key {bare!r}: these are answered from the info, and the concept database"
                f" has none of {name}; write one, or take the questions out"
            )
        for key, said in questions.items():
            place = f"{file}, row {len(rows) + 1} ({bare!r}, {key!r})"
            image = image_at(place, key, folders) if kind == VISUAL else None
            question, options, answer = _question(place, said)
            question = _SKS.sub(lambda _, name=name: name, question)
            rows.append(_Asked(kind, key, concepts[name], question, options, answer, image))
    if not rows:
        raise ValueError(f"{file}: holds no questions")
    return rows


def _question(place: str, said: Mapping[str, Any]) -> tuple[str, tuple[str, ...], int]:
    """A question as the file words it, its options, and the place of the right one."""
    spelt = {("options" if key == "option" else key): value for key, value in said.items()}
    row = as_shape(_Row, spelt, place)
    letters = list(row.options)
    if not 2 <= len(letters) <= len(LETTERS) or letters != list(LETTERS[: len(letters)]):
        raise ValueError(
            f"{place}, key 'options': has {', '.join(letters) or 'none'}; there have to be two or"
            " more, A, B and so on"
        )
    folded = {option.strip().casefold() for option in row.options.values()}
    if len(folded) < len(letters) or "" in folded:
        raise ValueError(f"{place}, key 'options': two are the same, or one is empty; reword one")
    if row.correct_answer not in letters:
        raise ValueError(
            f"{place}, key 'correct_answer': {row.correct_answer!r} is none of the options"
            f" {', '.join(letters)}; mend it"
        )
    return row.question, tuple(row.options.values()), letters.index(row.correct_answer)
