"""The concept database and the query file, in the JSON layout that RAP and RePIC share.

Database: ``{"concept_dict": {"<bo>": {"name", "image", "info", "category"}, ...}, ...}``; its
other key, ``path_to_concept``, repeats what the concepts say and is not read.
Queries: ``{"path/of/photo.jpg": ["<bo>", ...], ...}``, the names of who is in each photo; or
``{"path/of/photo.jpg": [["<bo>", ...], ...], ...}``, several prompts about a photo, each with the
names that it asks for (RePIC's file for four concepts).
Source: https://github.com/Hoar012/RAP-MLLM and https://github.com/oyt9306/RePIC.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from repic.files import as_shape, at, below, read_json
from repic.metrics.names import Lexicon, key_of
from repic.metrics.naming import KnownNames
from repic.types import Reference
from repic.values import nearest

from .images import FileImage
from .inventory import LEAVE
from .prompts import PLACEHOLDER


@dataclass(frozen=True)
class Folders:
    """Where the photos lie that published files name by somebody else's paths.

    Attributes:
        root: the folder that holds all data.
        under: folder name in a published path -> folder below ``root``. What follows the first
            such name is kept: with ``{"crops": "real/crops"}``, ``./x/crops/bo.jpg`` is read
            from ``root/real/crops/bo.jpg``.
        may_leave: whether a path may lead out of the folder that ``under`` gives for it.
    """

    root: Path
    under: Mapping[str, str]
    may_leave: bool = False

    def locate(self, published: str) -> Path:
        """Return the place of a published path on this machine."""
        parts = PurePosixPath(published.replace("\\", "/")).parts
        for depth, part in enumerate(parts[:-1]):
            if part in self.under:
                inside = "/".join(parts[depth + 1 :])
                folder = self.root / self.under[part]
                return below(folder, inside, may_leave=self.may_leave, key=LEAVE)
        raise ValueError(
            f"path {published!r} has none of the folders {', '.join(self.under)};"
            " mend the path, or add its folder to `folders`"
        )


@dataclass(frozen=True)
class _Introduction:
    """What the database must say to introduce a concept."""

    image: str
    info: str
    category: str


@dataclass(frozen=True)
class Naming:
    """What may be said of somebody's names, by a database or an album's ``about.yaml``."""

    name: str = ""
    info: str = ""
    category: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Concept:
    """A being or thing with a name, as the database introduces it."""

    name: str
    info: str | None
    category: str
    image: FileImage

    @property
    def reference(self) -> Reference:
        return Reference(name=self.name, info=self.info, image=self.image)


@dataclass(frozen=True)
class Query:
    """A photo and the names to find in it.

    Attributes:
        number: of the prompt in the file, from 1.
        label: the photo's row in the file, from 1; with ``.`` and the prompt's number where a
            photo has several, as in ``3.17``.
        image: the photo.
        names: who is in it, or whom of those the prompt asks for.
    """

    number: int
    label: str
    image: FileImage
    names: tuple[str, ...]


def read_concepts(file: Path, folders: Folders) -> dict[str, Concept]:
    """Read a concept database, in the file's order."""
    return {
        name: _concept(f"{file}: row {row} ({name})", name, record, folders)
        for row, (name, record) in enumerate(_concept_dict(file).items(), start=1)
    }


def read_queries(file: Path, folders: Folders, concepts: Mapping[str, Concept]) -> list[Query]:
    """Read a query file, in its order; every name must be one of the concepts."""
    queries: list[Query] = []
    for row, (path, value) in enumerate(_read_object(file).items(), start=1):
        place = f"{file}: row {row}, key {path!r}"
        image = image_at(place, path, folders)
        prompts, is_nested = _prompts(place, value)
        for number, names in enumerate(prompts, start=1):
            where = f"{place}, prompt {number}" if is_nested else place
            _check_names(where, names, concepts)
            label = f"{row}.{number}" if is_nested else str(row)
            queries.append(Query(len(queries) + 1, label, image, tuple(names)))
    if not queries:
        raise ValueError(f"{file}: holds no queries")
    return queries


def _prompts(place: str, value: Any) -> tuple[list[list[str]], bool]:
    """Return the name lists of a photo's prompts, and whether they were a list of lists."""
    need = 'a list of names, such as ["<bo>"], or a list of such lists'
    is_nested = isinstance(value, list) and any(isinstance(names, list) for names in value)
    prompts = as_shape(list[list[str]], value if is_nested else [value], place, need=need)
    if not all(prompts):
        raise ValueError(f"{place}: holds [], need {need}")
    asked = [frozenset(names) for names in prompts]
    for number, names in enumerate(asked):
        if names in asked[:number]:
            first = asked.index(names) + 1
            raise ValueError(
                f"{place}: prompts {first} and {number + 1} ask for the same names; remove one"
            )
    return prompts, is_nested


def _check_names(place: str, names: Sequence[str], concepts: Mapping[str, Concept]) -> None:
    for name in names:
        if name not in concepts:
            hint = nearest(name, concepts) or "; mend the name or add the concept"
            raise ValueError(
                f"{place}: {name!r} is not in the concept database ({len(concepts)} concepts){hint}"
            )
    if len(set(names)) != len(names):
        raise ValueError(f"{place}: a name stands there twice: {names}")


def read_known_names(file: Path) -> KnownNames:
    """Read what a concept database says about names; photos are not looked for.

    Aliases are its ``name`` and, if there is one, its list ``aliases``. The words that it
    describes concepts with, in lower case, are ordinary ones, and so are its categories.
    """
    aliases: dict[str, tuple[str, ...]] = {}
    ordinary: set[str] = set()
    infos: dict[str, str] = {}
    for row, (name, record) in enumerate(_concept_dict(file).items(), start=1):
        place = f"{file}: row {row} ({name})"
        said = as_shape(Naming, record, place)
        called = (said.name, *said.aliases)
        aliases[name] = tuple(alias for alias in called if alias.strip())
        infos[name] = said.info
        words = re.findall(r"[^\W_]+", re.sub(r"<[^<>]*>", " ", said.info))
        ordinary |= {key_of(word) for word in words if word.islower()}
        ordinary.add(key_of(said.category))
    try:
        Lexicon(aliases, aliases=aliases)
    except ValueError as error:
        raise ValueError(f"{file}: {error}; take the alias out") from None
    return KnownNames(aliases, frozenset(ordinary), infos)


def _concept_dict(file: Path) -> dict[str, Any]:
    table = _read_object(file).get("concept_dict")
    if not isinstance(table, dict) or not table:
        raise ValueError(f"{file}: key 'concept_dict' must hold an object with a concept or more")
    return table


def _read_object(file: Path) -> dict[str, Any]:
    return as_shape(dict[str, Any], read_json(file), str(file))


def _concept(place: str, name: str, record: Any, folders: Folders) -> Concept:
    if not (len(name) > 2 and name.startswith("<") and name.endswith(">")):
        raise ValueError(f"{place}: a concept's name is written in brackets: <{name.strip('<>')}>")
    if PLACEHOLDER.search(name):
        raise ValueError(f"{place}: this stands for a picture in many prompts; take another name")
    said = as_shape(_Introduction, record, place)
    return Concept(
        name=name,
        info=said.info.strip() or None,
        category=said.category,
        image=image_at(f"{place}, key 'image'", said.image, folders),
    )


def image_at(place: str, published: str, folders: Folders) -> FileImage:
    """Say where a photo belongs; whether it is there is ``inventory``'s business."""
    with at(place):
        return FileImage(folders.locate(published))
