"""Photos of beings and things with names, asked about by a concept database and a query file.

The setting is RePIC's "skip-retrieval" (https://arxiv.org/abs/2506.18369, section 4): whoever is
in the photo is introduced with the database's picture, name and sentence of info, in the
database's order. One class reads all of its evaluation data, which differ in files and questions
alone: MyVLM, Yo'LLaVA, DreamBooth (one concept a photo), and the paper's photos of two and of four
concepts. Deviations:

1. ``num_absent`` further concepts may be introduced that are not in the photo (0 there), so that
   naming everybody costs; with them the order of the references is shuffled.
2. A concept with an empty info is introduced without one.
3. The name in a prompt is the concept's key, which captions are scored by. The released script
   writes the database's ``name``; of the 32 in its photos of four concepts, three are then others
   even without case: ``<Iron Man>``, ``<Quicksilver>`` and ``<Mr.Krabs>`` for ``<ironman>``,
   ``<quick silver>`` and ``<mr.krab>``, which nobody who copies them is found to have said.

The published reference pictures are files of their own, but may show the same shot as a query:
DreamBooth's are crops of photos that are asked about, that of ``<pink_sunglasses>`` is the whole
photo, and that of ``<vase>`` shows the teapot beside it. We keep them, since they are the protocol.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from repic.types import Example, Reference
from repic.values import Count, Missing, Questions, Seed, Text, Whole

from .concepts import Concept, Folders, Query, read_concepts, read_queries
from .inventory import DATABASE, LEARNT, QUERY, Inventory, data_root, once, telling

MAX_CONCEPTS = 5
Row = TypeVar("Row")


class PhotoDataset:
    """Captioning prompts over real photos: ``dataset[i]`` is the same for ever.

    There are no reference captions and no known facts, so ``answers`` is empty and ``scene`` is
    None: recognition can be measured, agreement with references cannot.

    Args:
        name: begins the examples' ids.
        root: folder that holds the data; None, or one that is missing, is refused with
            ``how_to_get``.
        database: concept database, relative to ``root``.
        queries: query file, relative to ``root``.
        folders: see ``concepts.Folders``.
        questions: asked in turn, by the number of the prompt in the query file.
        num_absent: references to add that are not in the photo, of the same category as
            somebody who is, as far as there are any.
        missing: what to do about photos that are not there: ``refuse`` them all with
            ``how_to_get``, or ``skip`` the prompts that need one, and say how many they are.
        counts: numbers of concepts; photos of others are left out, and there may be none left.
        size: at most so many prompts, spread evenly over those of the file; None takes all.
        seed: decides which absent references are added, and the order.
        how_to_get: what to download and where to put it, for the error message.
        learnt: photos of each concept that systems learn from, and that are not asked about.
        draw: decides which ones; None: the first.
        leave_root: let paths in the files, and links, lead out of ``folders``.
    """

    def __init__(
        self,
        root: Text | Path | None,
        *,
        name: Text,
        database: Text,
        queries: Text,
        folders: Mapping[str, Text],
        questions: Questions,
        num_absent: Whole,
        missing: Missing,
        counts: Collection[int],
        size: Count | None,
        seed: Seed,
        how_to_get: Text,
        learnt: Whole = 0,
        draw: Seed | None = None,
        leave_root: bool = False,
    ) -> None:
        folder = data_root(root, how_to_get)
        places = Folders(folder, folders, leave_root)
        with telling(how_to_get):
            concepts = read_concepts(places.root / database, places)
            rows = read_queries(places.root / queries, places, concepts)
        taken = [q for some in learnt_of(rows, learnt, draw).values() for q in some]
        rows = left_to_ask(rows, taken)
        self.inventory = _inventory(concepts, rows, taken, how_to_get)

        def files_of(query: Query) -> list[Path]:
            return [query.image.path, *(concepts[n].image.path for n in query.names)]

        found, gone = self.inventory.at_hand(name, rows, files_of, missing)
        self._concepts = {n: c for n, c in concepts.items() if c.image.path not in gone}
        self._name, self._questions = name, tuple(questions)
        self._num_absent, self._seed = num_absent, seed
        for query in found:
            self._check(query, places.root / queries)
        self._queries = spread([row for row in found if len(row.names) in counts], size)

    @property
    def database(self) -> tuple[Reference, ...]:
        """Every concept of the database whose picture is at hand, in the file's order."""
        return tuple(concept.reference for concept in self._concepts.values())

    @property
    def kinds(self) -> list[str]:
        """The concepts' categories, each once."""
        return list(dict.fromkeys(concept.category for concept in self._concepts.values()))

    @property
    def categories(self) -> dict[str, str]:
        """What each concept is, in a word."""
        return {name: concept.category for name, concept in self._concepts.items()}

    def __len__(self) -> int:
        return len(self._queries)

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        query = self._queries[index]
        subject = query.image.path.parent.name
        shown = [concept for name, concept in self._concepts.items() if name in query.names]
        if self._num_absent:
            rng = random.Random(f"{self._name}/{self._seed}/{query.label}")
            shown += _absent(shown, list(self._concepts.values()), self._num_absent, rng)
            rng.shuffle(shown)
        return Example(
            id=f"{self._name}/{query.label}/{subject}/{query.image.path.name}",
            task="caption",
            references=tuple(concept.reference for concept in shown),
            query=query.image,
            question=self._questions[(query.number - 1) % len(self._questions)],
            present=query.names,
            num_concepts=len(query.names),
        )

    def _check(self, query: Query, file: Path) -> None:
        """Refuse rows that cannot be asked about."""
        place = f"{file}: row {query.label}"
        if len(query.names) > MAX_CONCEPTS:
            raise ValueError(
                f"{place}: names {len(query.names)} concepts; there may be 1 to {MAX_CONCEPTS}"
            )
        others = len(self._concepts) - len(query.names)
        if self._num_absent > others:
            raise ValueError(
                f"num_absent: {self._num_absent} is not possible: the database has {others}"
                f" concepts besides those of row {query.label}"
            )
        # A prompt that shows the query itself as the reference would ask nothing.
        for name in query.names:
            if self._concepts[name].image.path.samefile(query.image.path):
                raise ValueError(
                    f"{place}: {query.image.path} is also the reference picture of {name};"
                    " take another photo for one of them"
                )


def learnt_of(rows: Sequence[Query], number: int, draw: int | None) -> dict[str, list[Query]]:
    """Which photos of those who are alone in them a system may learn from; see ``pick``."""
    by_name: dict[str, list[Query]] = {}
    for row in rows:
        if len(row.names) == 1:
            by_name.setdefault(row.names[0], []).append(row)
    return {name: pick(some, number, name, draw) for name, some in by_name.items()}


def left_to_ask(rows: Sequence[Query], learnt: Sequence[Query]) -> list[Query]:
    """All but those that are learnt from.

    Raises:
        ValueError: nothing is left of somebody.
    """
    left = [row for row in rows if row not in learnt]
    asked = {row.names for row in left}
    for row in learnt:
        if row.names not in asked:
            number = sum(other.names == row.names for other in learnt)
            raise ValueError(
                f"data.friends.pictures: {row.names[0]} has no photo left to ask about, as all"
                f" {number} are learnt from; lower it"
            )
    return left


def pick(some: Sequence[Row], number: int, name: str, draw: int | None) -> list[Row]:
    """The first ones of a name, or as many that are drawn, in their order."""
    if draw is None or number >= len(some):
        return list(some[:number])
    chosen = random.Random(f"{name}/{draw}").sample(range(len(some)), number)
    return [some[i] for i in sorted(chosen)]


def spread(rows: Sequence[Row], size: int | None) -> list[Row]:
    """Choose ``size`` rows at even distances, since files are sorted by concept."""
    if size is None or size > len(rows):
        return list(rows)
    return [rows[i * len(rows) // size] for i in range(size)]


def _inventory(
    concepts: Mapping[str, Concept],
    rows: Sequence[Query],
    learnt: Sequence[Query],
    how_to_get: str,
) -> Inventory:
    files = {
        DATABASE: once(concept.image.path for concept in concepts.values()),
        QUERY: once(row.image.path for row in rows),
        LEARNT: once(row.image.path for row in learnt),
    }
    return Inventory(
        files={role: paths for role, paths in files.items() if paths or role != LEARNT},
        infos={name: concept.info for name, concept in concepts.items()},
        targets=[row.names for row in rows],
        how_to_get=how_to_get,
    )


def _absent(
    shown: Sequence[Concept], concepts: Sequence[Concept], count: int, rng: random.Random
) -> list[Concept]:
    """Draw concepts that are not shown, those of a shown one's category first."""
    others = [concept for concept in concepts if concept not in shown]
    rng.shuffle(others)
    categories = {concept.category for concept in shown}
    return sorted(others, key=lambda concept: concept.category not in categories)[:count]
