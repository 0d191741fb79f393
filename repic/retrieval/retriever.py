"""From examples to the same examples, introducing whom a retriever found in place of the truth.

RePIC's evaluation in the setting "retrieval" (https://arxiv.org/abs/2506.18369, section 4), which
is RAP's (https://arxiv.org/abs/2410.13360, section 3.2): every box of the query is a crop; each
crop brings its nearest pictures of the database; all of them are taken in the order of their
distance, whichever crop they come from, the same one once, until there are top_k. The prompt
introduces them in that order.

Options beyond it, which are off at RePIC's values:

1. ``per_crop``: how many pictures a crop brings. RePIC: top_k; RAP: 2. With 1, nobody's second best
   is taken where another's best is left.
2. ``min_similarity``: a picture that is less like the crop is not taken, though top_k are then not
   reached. RePIC takes all.

A present concept that is not retrieved is not introduced: the caption can only miss it. What
``name_everybody`` scores on retrieved examples is therefore the retriever itself, the upper bound
of RePIC's table 1.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le, MinLen
from PIL import Image

from repic.retrieval.albums import Album, make_albums
from repic.retrieval.index import ReferenceIndex, open_index
from repic.retrieval.parts import Embedder, Proposer
from repic.types import Box, Example, Examples, picture_content
from repic.values import Count

Chosen = tuple[tuple[str, ...], ...]  # whom each example of a dataset introduces, in order


class Found(NamedTuple):
    """Somebody who is perhaps in a picture.

    ``similarity`` is the cosine, from -1 to 1, with what is in ``box``, the crop that is most like
    the reference. ``fits`` is False beyond ``top_k``: found, but left out of the prompt.
    """

    name: str
    similarity: float
    box: Box
    fits: bool = True


class Retriever:
    """Finds each example's references by how its query looks.

    Args:
        proposer: where in the query to look.
        embedder: compares crops with references.
        top_k: how many references a query with 1, 2, ... concepts is given at most; the last
            holds for all beyond.
        per_crop: how many a crop brings; None: as many as the query is given.
        min_similarity: cosine from -1 to 1 that a reference needs; None takes any.
        scenes_per_album: how many examples share an album where there is no database.
    """

    def __init__(
        self,
        *,
        proposer: Proposer,
        embedder: Embedder,
        top_k: Annotated[Sequence[Count], MinLen(1)],
        per_crop: Count | None,
        min_similarity: Annotated[float, Ge(-1), Le(1)] | None,
        scenes_per_album: Count,
    ) -> None:
        self.proposer, self.embedder = proposer, embedder
        self.top_k, self.per_crop, self.min_similarity = tuple(top_k), per_crop, min_similarity
        self.scenes_per_album = scenes_per_album
        self._found: dict[tuple[tuple[str, ...], ...], list[list[Found]]] = {}
        self._indices: dict[tuple[tuple[str, str], ...], ReferenceIndex] = {}

    def choose(self, scenes: Examples, *, folder: Path) -> Chosen:
        """Retrieve for every example of a dataset; the second time for the same ones is free.

        Args:
            scenes: the dataset.
            folder: where indices are kept between runs.
        """
        found = self.find(scenes, folder=folder)
        return tuple(tuple(one.name for one in some if one.fits) for some in found)

    def find(self, scenes: Examples, *, folder: Path) -> list[list[Found]]:
        """The same, with where each was seen and how like it is, and who has no room."""
        examples = [scenes[i] for i in range(len(scenes))]
        key = tuple((e.id, *map(picture_content, e.images)) for e in examples)
        if key not in self._found:
            self._found[key] = self._find(scenes, examples, folder)
        return self._found[key]

    def introduce(self, scenes: Examples, chosen: Chosen) -> list[Example]:
        """Return a dataset's examples with the chosen references in place of their own.

        The dataset may be drawn at another resolution than the one that was chosen from.
        """
        return introduce(scenes, chosen, scenes_per_album=self.scenes_per_album)

    def room(self, example: Example) -> int:
        """How many references a query is given at most."""
        return self.top_k[min(max(example.num_concepts, 1), len(self.top_k)) - 1]

    def _find(
        self, scenes: Examples, examples: Sequence[Example], folder: Path
    ) -> list[list[Found]]:
        everybody: list[list[Found]] = [[] for _ in examples]
        for album in make_albums(scenes, size=self.scenes_per_album):
            index = self._open(album, folder)
            queries = [examples[i] for i in album.scenes]
            found = self.search(queries, album.kinds, index)
            for i, some in zip(album.scenes, found, strict=True):
                everybody[i] = some
        return everybody

    def _open(self, album: Album, folder: Path) -> ReferenceIndex:
        """An album's index; one that has been open is not read again."""
        key = tuple((r.name, picture_content(r.image)) for r in album.references if r.image)
        if key not in self._indices:
            self._indices[key] = open_index(folder, album.references, self.embedder)
        return self._indices[key]

    def search(
        self, queries: Sequence[Example], kinds: Sequence[str], index: ReferenceIndex
    ) -> list[list[Found]]:
        """Return who of an index is in each query; all crops are embedded together.

        Args:
            queries: with pictures.
            kinds: of beings and things, in words for a detector.
            index: whom to look among.
        """
        pictures = [_query(example) for example in queries]
        boxes = [self.proposer(picture, kinds) for picture in pictures]
        flat = [cut(p, box) for p, some in zip(pictures, boxes, strict=True) for box in some]
        vectors = iter(self.embedder(flat) if flat else [])
        found = []
        for example, some in zip(queries, boxes, strict=True):
            own = np.array([next(vectors) for _ in some])
            top_k = self.room(example)
            if not some:
                found.append([])
                continue
            distances, rows = index.search(own, self.per_crop or top_k)
            found.append([])
            for place, row in enumerate(nearest(distances, rows, furthest=self._furthest)):
                places = list(zip(*np.nonzero(rows == row), strict=True))
                crop, rank = min(places, key=lambda place: distances[place])
                cosine = 1 - float(distances[crop, rank]) / 2  # of vectors of length 1
                found[-1].append(Found(index.names[row], cosine, some[crop], place < top_k))
        return found

    @property
    def _furthest(self) -> float:
        """The squared distance of unit vectors with the least cosine that is taken."""
        return np.inf if self.min_similarity is None else 2 - 2 * self.min_similarity


def introduce(
    scenes: Examples, names: Sequence[Sequence[str]], *, scenes_per_album: int
) -> list[Example]:
    """Return a dataset's examples with the named references of their albums.

    Args:
        scenes: the dataset.
        names: of each example's references, in their order; all are in its album.
        scenes_per_album: see ``Retriever``.
    """
    examples = [scenes[i] for i in range(len(scenes))]
    for album in make_albums(scenes, size=scenes_per_album):
        known = {reference.name: reference for reference in album.references}
        for i in album.scenes:
            found = tuple(known[name] for name in names[i])
            examples[i] = replace(examples[i], references=found)
    return examples


def _query(example: Example) -> Image.Image:
    if example.query is None:
        raise ValueError(f"{example.id}: has no query picture to retrieve by")
    return example.query.load()


def nearest(distances: np.ndarray, rows: np.ndarray, *, furthest: float) -> list[int]:
    """Take rows in the order of their distance, whichever crop brought them, each once.

    Args:
        distances: of each crop [N] and each picture that it brought [K]; squared.
        rows: which picture.
        furthest: the largest distance that is taken.

    Example:
        >>> nearest(np.array([[0.1, 0.4], [0.2, 0.3]]), np.array([[7, 5], [7, 6]]), furthest=0.3)
        [7, 6]
    """
    order = np.argsort(distances, axis=None, kind="stable")
    pairs = zip(distances.ravel()[order], rows.ravel()[order], strict=True)
    return list(dict.fromkeys(int(row) for distance, row in pairs if distance <= furthest))


def cut(picture: Image.Image, box: Box) -> Image.Image:
    """Return what is in a box, at least one pixel of it, inside the picture."""
    width, height = picture.size
    x0, y0 = min(max(round(box.x0), 0), width - 1), min(max(round(box.y0), 0), height - 1)
    x1, y1 = (
        max(min(round(box.x1), width), x0 + 1),
        max(min(round(box.y1), height), y0 + 1),
    )
    return picture.crop((x0, y0, x1, y1))
