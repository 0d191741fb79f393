"""Which references an example's are looked for among.

Real data has a database: one album, for every photo. A drawn scene has beings and names of its
own, so scenes share an album: the references of up to ``size`` of them. Scenes are dealt in order,
each to the first album that has room and that it fits into. It does not fit if it shares a name
with the album, or if somebody of the one, seen or introduced, is introduced by the other: then
two answers would be right, or a nameless stranger would have a name. So every album is full but
perhaps the last few, and within an album a name means one being and a being has one name.

A reference without a picture cannot be found. Where the dataset can draw it (``identities``), it is
in the album with that picture; elsewhere it is left out, and the log says how many were.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from repic.types import Example, Examples, Reference, SceneIdentities

log = logging.getLogger(__name__)


@runtime_checkable
class HasDatabase(Protocol):
    """A dataset whose examples are all looked up in one place."""

    @property
    def database(self) -> Sequence[Reference]:
        """Everybody who may be retrieved."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """What they are, in words for a detector, such as "dog"; each once."""
        ...


@runtime_checkable
class HasIdentities(Protocol):
    """A dataset that knows who the beings of its i-th example are."""

    def identities(self, index: int, /) -> SceneIdentities: ...


@dataclass
class Album:
    """References to look among.

    Attributes:
        references: each with a picture; no two have the same name.
        kinds: what they are, in words.
        scenes: indices of the examples that share the album.
    """

    references: list[Reference] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    scenes: list[int] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _introduced: set[str] = field(default_factory=set)
    _shown: set[str] = field(default_factory=set)

    def fits(self, identities: SceneIdentities) -> bool:
        """Whether a scene can join without making two answers right."""
        return (
            self._names.isdisjoint(identities.names)
            and self._introduced.isdisjoint(identities.introduced | identities.shown)
            and self._shown.isdisjoint(identities.introduced)
        )

    def add(self, index: int, identities: SceneIdentities) -> None:
        """Take a scene's references up."""
        pictured = [r for r in identities.references if r.image is not None]
        self.references += pictured
        self.kinds += [r.info for r in pictured if r.info is not None]
        self.scenes.append(index)
        self._names |= identities.names
        self._introduced |= identities.introduced
        self._shown |= identities.shown


def make_albums(scenes: Examples, *, size: int) -> list[Album]:
    """Deal a dataset's examples out to albums; see the module's docstring.

    Args:
        scenes: the dataset; one with a ``database`` has one album.
        size: scenes that share an album, at most.
    """
    if isinstance(scenes, HasDatabase):
        references = [r for r in scenes.database if r.image is not None]
        return [Album(references, list(scenes.kinds), list(range(len(scenes))))]
    albums: list[Album] = []
    num_left_out = num_references = 0
    for index in range(len(scenes)):
        identities = (
            scenes.identities(index)
            if isinstance(scenes, HasIdentities)
            else identities_of(scenes[index])
        )
        num_references += len(identities.references)
        num_left_out += sum(r.image is None for r in identities.references)
        album = next((a for a in albums if len(a.scenes) < size and a.fits(identities)), None)
        if album is None:
            album = Album()
            albums.append(album)
        album.add(index, identities)
    if num_left_out:
        log.info(
            "retrieval: %d of %d references have no picture and are in no album",
            num_left_out,
            num_references,
        )
    return albums


def identities_of(example: Example) -> SceneIdentities:
    """What an example says of its beings by itself: who is who shows in the pictures' keys alone.

    A stranger in the query, or a being that two examples name differently in different pictures,
    is not noticed.
    """
    pictures = frozenset(r.image.key for r in example.references if r.image is not None)
    return SceneIdentities(example.references, introduced=pictures, shown=frozenset())
