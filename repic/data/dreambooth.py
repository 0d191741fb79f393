"""Real photos in DreamBooth's layout, asked about by RePIC's concept database and query file.

The setting is RePIC's "skip-retrieval" (https://arxiv.org/abs/2506.18369, section 4): whoever is
in the photo is introduced with the database's picture, name and sentence of info. Deviations:

1. ``num_absent`` further concepts may be introduced that are not in the photo (0 there), so that
   naming everybody costs; with them the order of the references is shuffled.
2. A concept with an empty info is introduced without one.

The published reference pictures are files of their own, but may show the same shot as a query:
that of ``<pink_sunglasses>`` is its first query photo. We keep them, since they are the protocol.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from repic.types import Example, Reference

from .concepts import Concept, Folders, Query, data_root, read_concepts, read_queries

MAX_CONCEPTS = 5


class DreamBoothDataset:
    """Captioning prompts over real photos: ``dataset[i]`` is the same for ever.

    There are no reference captions and no known facts, so ``answers`` is empty and ``scene`` is
    None: recognition can be measured, agreement with references cannot.

    Args:
        root: folder that holds the data; None, or one that is missing, is refused with
            ``how_to_get``.
        database: concept database, relative to ``root``.
        queries: query file, relative to ``root``.
        folders: see ``concepts.Folders``.
        questions: asked in turn, by the row of the query file.
        num_absent: references to add that are not in the photo, of the same category as
            somebody who is, as far as there are any.
        counts: numbers of concepts; photos of others are left out, and there may be none left.
        size: at most so many photos, spread evenly over those of the file; None takes all.
        seed: decides which absent references are added, and the order.
        how_to_get: what to download and where to put it, for the error message.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        database: str,
        queries: str,
        folders: Mapping[str, str],
        questions: Sequence[str],
        num_absent: int,
        counts: Collection[int],
        size: int | None,
        seed: int,
        how_to_get: str,
    ) -> None:
        folder = data_root(root, how_to_get)
        if not questions:
            raise ValueError("questions: needs a question or more")
        places = Folders(folder, folders)
        try:
            self._concepts = read_concepts(places.root / database, places)
            rows = read_queries(places.root / queries, places, self._concepts)
        except ValueError as error:
            raise ValueError(f"{error}\n{how_to_get}") from error
        self._queries = _spread([row for row in rows if len(row.names) in counts], size)
        self._questions = tuple(questions)
        self._num_absent, self._seed = num_absent, seed
        for query in rows:
            self._check(query, places.root / queries)

    def __len__(self) -> int:
        return len(self._queries)

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        query = self._queries[index]
        subject = query.image.path.parent.name
        shown = [self._concepts[name] for name in query.names]
        if self._num_absent:
            rng = random.Random(f"dreambooth/{self._seed}/{query.row}")
            shown += _absent(shown, list(self._concepts.values()), self._num_absent, rng)
            rng.shuffle(shown)
        return Example(
            id=f"dreambooth/{query.row}/{subject}/{query.image.path.name}",
            task="caption",
            references=tuple(concept.reference for concept in shown),
            query=query.image,
            question=self._questions[(query.row - 1) % len(self._questions)],
            target="",
            answers=(),
            present=query.names,
            num_concepts=len(query.names),
        )

    @property
    def database(self) -> list[Reference]:
        """Every concept of the database: whom a retriever looks among."""
        return [concept.reference for concept in self._concepts.values()]

    @property
    def kinds(self) -> list[str]:
        """The concepts' categories, each once."""
        return list(dict.fromkeys(concept.category for concept in self._concepts.values()))

    def _check(self, query: Query, file: Path) -> None:
        """Refuse rows that cannot be asked about."""
        place = f"{file}: row {query.row}"
        if len(query.names) > MAX_CONCEPTS:
            raise ValueError(
                f"{place}: names {len(query.names)} concepts; there may be 1 to {MAX_CONCEPTS}"
            )
        others = len(self._concepts) - len(query.names)
        if not 0 <= self._num_absent <= others:
            raise ValueError(
                f"num_absent: {self._num_absent} is not possible: the database has {others}"
                f" concepts besides those of row {query.row}"
            )
        # A prompt that shows the query itself as the reference would ask nothing.
        for name in query.names:
            if self._concepts[name].image.path.samefile(query.image.path):
                raise ValueError(
                    f"{place}: {query.image.path} is also the reference picture of {name};"
                    " take another photo for one of them"
                )


def _spread(rows: list[Query], size: int | None) -> list[Query]:
    """Choose ``size`` rows at even distances, since files are sorted by concept."""
    if size is None or size > len(rows):
        return rows
    if size < 1:
        raise ValueError(f"size: {size} is not possible; use 1 or more, or null for all photos")
    return [rows[i * len(rows) // size] for i in range(size)]


def _absent(
    shown: Sequence[Concept], concepts: Sequence[Concept], count: int, rng: random.Random
) -> list[Concept]:
    """Draw concepts that are not shown, those of a shown one's category first."""
    others = [concept for concept in concepts if concept not in shown]
    rng.shuffle(others)
    categories = {concept.category for concept in shown}
    return sorted(others, key=lambda concept: concept.category not in categories)[:count]
