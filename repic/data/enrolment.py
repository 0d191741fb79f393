"""Photos of beings and things to learn from, and questions of yes or no about the others.

Published sets have the photos of a concept in a folder of their own. Which of them a system may
learn from is said in one of two ways: the first of those in the query file, or some that are drawn,
which are then not asked about (DreamBooth; MyVLM, whose code draws four); or those of another
folder, as Yo'LLaVA's ``train/<concept>/``. What does not show a friend are photos that the other
friends are learnt from: look-alikes are of the same category, unless the folder has Yo'LLaVA's
``negative_example/``. Captions are those of ``captions_augmented.json`` or ``captions.json`` beside
the photos, as MyVLM has them, in which the folder's name stands for the friend's; else templates.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from repic.files import as_shape, read_json
from repic.parsing import check_words
from repic.types import Example, Friend, ImageSource, Shot
from repic.values import Count, Missing, Seed, Text, Whole

from .concepts import Concept, Folders, read_concepts, read_queries
from .images import PICTURES, FileImage
from .inventory import data_root, telling
from .personal import PhotoDataset, learnt_of, pick

CAPTIONS = ("captions_augmented.json", "captions.json")  # the first that is there
NEGATIVES = "negative_example"
KINDS = ("positive", "lookalike", "random")  # of questions; the answer to one is yes


def photo_friends(
    root: Text | Path | None,
    *,
    database: Text,
    queries: Text,
    folders: Mapping[str, Text],
    pictures: Whole,
    draw: Seed | None,
    learn_from: Text | None,
    captions: Sequence[Text],
    negatives: Whole,
    how_to_get: Text,
    leave_root: bool = False,
) -> list[Friend]:
    """Everybody of a database who is alone in some photo, as systems may learn them.

    Args:
        root, database, queries, folders, how_to_get, leave_root: see ``PhotoDataset``.
        pictures: of each, at most; 0: there are none, and all photos can be asked about.
        draw: decides which ones; None: the first.
        learn_from: folder below ``root`` that has a folder for each concept, as the queries have;
            None: the photos of the queries.
        captions: of a photo without any, with ``{name}``, ``{info}`` and ``{category}``.
        negatives: pictures of look-alikes, and as many of any others.

    Raises:
        ValueError: there is no such folder; or a caption, a file of captions, the database or the
            queries are malformed.
    """
    for caption in captions:
        check_words("data.friends.captions", caption, optional=["name", "info", "category"])
    place = data_root(root, how_to_get)
    places = Folders(place, folders, leave_root)
    with telling(how_to_get):
        concepts = read_concepts(place / database, places)
        rows = read_queries(place / queries, places, concepts)
    homes: dict[str, Path] = {}
    for row in rows:
        if len(row.names) == 1:
            homes.setdefault(row.names[0], row.image.path.parent)
    if learn_from is None:
        chosen = {n: [q.image for q in some] for n, some in learnt_of(rows, pictures, draw).items()}
    else:
        if not (place / learn_from).is_dir():
            raise ValueError(
                f"data.friends.learn_from: there is no folder {place / learn_from}.\n{how_to_get}"
            )
        homes = {name: place / learn_from / home.name for name, home in homes.items()}
        found = {name: _pictures(home) for name, home in homes.items()}
        chosen = {name: pick(some, pictures, name, draw) for name, some in found.items()}
    there = {name: [i for i in chosen.get(name, ()) if i.path.is_file()] for name in homes}
    return [
        Friend(
            name=name,
            info=concepts[name].info,
            category=concepts[name].category,
            shots=_shots(concepts[name], home, there[name], captions),
            **_negatives(name, home, there, concepts, negatives),
        )
        for name, home in homes.items()
    ]


def _pictures(folder: Path) -> list[FileImage]:
    """Those in a folder, 2.png before 10.png."""
    paths = folder.iterdir() if folder.is_dir() else ()
    found = [path for path in paths if path.suffix.casefold() in PICTURES]
    return [FileImage(path) for path in sorted(found, key=lambda p: (len(p.name), p.name))]


def _shots(
    concept: Concept, home: Path, images: Sequence[FileImage], captions: Sequence[str]
) -> tuple[Shot, ...]:
    told = {"name": concept.name, "info": concept.info or "", "category": concept.category}
    usual = tuple(caption.format(**told) for caption in captions)
    own = _captions(home, concept.name)
    return tuple(Shot(image, own.get(image.path.name) or usual) for image in images)


def _captions(home: Path, name: str) -> dict[str, tuple[str, ...]]:
    """MyVLM's captions of a folder's photos that name the friend, whom the folder is called by."""
    file = next((home / name for name in CAPTIONS if (home / name).is_file()), None)
    if file is None:
        return {}
    said = as_shape(dict[str, list[str]], read_json(file), str(file))
    called = rf"(?<![\w<]){re.escape(home.name).replace('_', '[_ ]')}(?![\w>])"
    named = {
        picture: [re.sub(called, lambda _: name, caption) for caption in some]
        for picture, some in said.items()
    }
    return {key: tuple(c for c in some if name in c) for key, some in named.items()}


def _negatives(
    name: str,
    home: Path,
    there: Mapping[str, Sequence[FileImage]],
    concepts: Mapping[str, Concept],
    number: int,
) -> dict[str, tuple[ImageSource, ...]]:
    """Pictures of those who look alike, and of any others, each of the others in turn."""
    groups: dict[bool, list[Sequence[FileImage]]] = {True: [], False: []}
    for other, images in there.items():
        if other != name:
            groups[concepts[other].category == concepts[name].category].append(images)
    alike, others = (
        [image for some in zip_longest(*groups[kind]) for image in some if image is not None]
        for kind in (True, False)
    )
    alike = _pictures(home / NEGATIVES) or alike
    return {"lookalikes": tuple(alike[:number]), "others": tuple(others[:number])}


class PhotoQuestions:
    """Whether a photo shows a friend; the task of an example is ``recognize/<kind>``.

    Kinds, in equal numbers as far as there are photos: "positive", a photo of the friend;
    "lookalike", one of another friend of the same category; "random", one of any other. The photos
    are those of ``PhotoDataset``, with the same arguments.

    Args:
        per_kind: questions of each kind, at most; the friends are asked about in turn.
        seed: another seed gives other questions.
        question: with ``{name}``.
    """

    def __init__(
        self,
        root: Text | Path | None,
        *,
        name: Text,
        database: Text,
        queries: Text,
        folders: Mapping[str, Text],
        missing: Missing,
        learnt: Whole,
        draw: Seed | None,
        how_to_get: Text,
        per_kind: Count,
        seed: Seed,
        question: Text,
        leave_root: bool = False,
    ) -> None:
        check_words("data.recognize.questions.question", question, "name")
        photos = PhotoDataset(
            root, name=name, database=database, queries=queries, folders=folders,
            questions=[question], num_absent=0, missing=missing, counts=[1], size=None, seed=0,
            how_to_get=how_to_get, leave_root=leave_root, learnt=learnt, draw=draw,
        )  # fmt: skip
        self._known, self._question = {r.name: r for r in photos.database}, question
        rng = random.Random(f"{name}/{seed}/recognize")
        self._asked: list[tuple[str, str, Example]] = []  # the kind, about whom, which photo
        for kind in KINDS:
            rows = [
                [(kind, friend, e) for e in photos if _kind(e, friend, photos.categories) == kind]
                for friend in dict.fromkeys(example.present[0] for example in photos)
            ]
            for some in rows:
                rng.shuffle(some)
            in_turn = [row for turn in zip_longest(*rows) for row in turn if row is not None]
            self._asked += in_turn[:per_kind]

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, index: int) -> Example:
        kind, friend, photo = self._asked[index]
        answer = "yes" if kind == KINDS[0] else "no"
        return replace(
            photo,
            id=f"{photo.id}/{friend}",
            task=f"recognize/{kind}",
            references=(self._known[friend],),
            question=self._question.format(name=friend),
            target=answer,
            answers=(answer,),
            present=photo.present if kind == KINDS[0] else (),
        )


def _kind(photo: Example, friend: str, categories: Mapping[str, str]) -> str:
    """What a photo of somebody is to a question about a friend."""
    (shown,) = photo.present
    if shown == friend:
        return "positive"
    return "lookalike" if categories[shown] == categories[friend] else "random"
