"""Whom a query's crops bring, against a judge that follows the released code step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repic.retrieval.parts import unit
from repic.retrieval.retriever import Retriever, cut, nearest
from repic.types import Box, Example, Reference
from tests.fakes import Noise, example


@dataclass(frozen=True)
class Stripes:
    """Four columns of colours; a query of four crops."""

    colours: tuple[tuple[int, int, int], ...]

    @property
    def key(self) -> str:
        return f"stripes:{self.colours}"

    def load(self) -> Image.Image:
        picture = Image.new("RGB", (len(self.colours), 1))
        picture.putdata(self.colours)
        return picture


class Columns:
    """A proposer: every column by itself."""

    def __init__(self) -> None:
        self.looked_for = []

    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        self.looked_for.append(list(looked_for))
        return [Box(float(x), 0.0, float(x + 1), 1.0) for x in range(picture.width)]


class Nothing(Columns):
    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        return []


class Colour:
    """An embedder: the mean colour as a direction."""

    version = "colour"

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        return unit(np.array([np.asarray(p).reshape(-1, 3).mean(axis=0) for p in pictures]))


RED, GREEN, BLUE, ORANGE, PINK = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 80, 0),
    (255, 0, 60),
)
CONCEPTS = {"<red>": RED, "<green>": GREEN, "<blue>": BLUE, "<orange>": ORANGE}


class Shop:
    """Queries of one database."""

    kinds = ("paint",)

    def __init__(self, *queries: Sequence[tuple[int, int, int]], num_concepts: int = 1) -> None:
        self.queries, self.num_concepts = queries, num_concepts

    @property
    def database(self) -> list[Reference]:
        return [Reference(name, f"{name}!", Stripes((c,))) for name, c in CONCEPTS.items()]

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index: int) -> Example:
        query = Stripes(tuple(self.queries[index]))
        given = Example(
            id=str(index),
            task="caption",
            references=(Reference("<given>", "by the data", Noise(1)),),
            query=query,
            question="?",
            present=("<red>",),
            num_concepts=self.num_concepts,
        )
        return given


def retriever(**changes: Any) -> Retriever:
    plain = {"proposer": Columns(), "embedder": Colour(), "top_k": [2], "per_crop": None}
    return Retriever(**{**plain, "min_similarity": None, "scenes_per_album": 8, **changes})


def retrieved(shop: Shop, folder: Path, **changes: Any) -> list[tuple[str, ...]]:
    return list(retriever(**changes).choose(shop, folder=folder))


def test_by_hand(tmp_path: Path) -> None:
    """Pink is nearest to red (cos .97), then to orange (.93); green is green."""
    shop = Shop([PINK, GREEN])
    assert retrieved(shop, tmp_path, top_k=[1]) == [("<green>",)]
    assert retrieved(shop, tmp_path, top_k=[2]) == [("<green>", "<red>")]
    assert retrieved(shop, tmp_path, top_k=[3]) == [("<green>", "<red>", "<orange>")]
    # With one a crop, there is nobody else to bring.
    assert retrieved(shop, tmp_path, top_k=[3], per_crop=1) == [("<green>", "<red>")]
    assert retrieved(shop, tmp_path, top_k=[3], min_similarity=0.95) == [("<green>", "<red>")]
    assert retrieved(shop, tmp_path, top_k=[3], min_similarity=0.98) == [("<green>",)]
    assert retrieved(shop, tmp_path, top_k=[9], per_crop=9, min_similarity=-1.0) == [
        ("<green>", "<red>", "<orange>", "<blue>")
    ]


def test_the_second_best_of_one_crop_may_come_before_the_best_of_another(tmp_path: Path) -> None:
    """As in the released code; per_crop=1 is the way out."""
    shop = Shop([PINK, (40, 60, 100)])  # a grey that is blue by .80
    assert retrieved(shop, tmp_path, top_k=[2]) == [("<red>", "<orange>")]
    assert retrieved(shop, tmp_path, top_k=[2], per_crop=1) == [("<red>", "<blue>")]


def test_top_k_follows_the_number_of_concepts(tmp_path: Path) -> None:
    for count, expected in ((1, 1), (2, 3), (3, 4), (5, 4)):
        shop = Shop([RED, GREEN, BLUE, ORANGE], num_concepts=count)
        (names,) = retrieved(shop, tmp_path, top_k=[1, 3, 4])
        assert len(names) == expected


def follow(distances: np.ndarray, rows: np.ndarray, top_k: int, furthest: float) -> list[int]:
    """Sort all pairs, and walk along them."""
    pairs = sorted(
        (distances[crop, place], crop, place, rows[crop, place])
        for crop in range(distances.shape[0])
        for place in range(distances.shape[1])
    )
    taken: list[int] = []
    for distance, _, _, row in pairs:
        if distance <= furthest and row not in taken and len(taken) < top_k:
            taken.append(int(row))
    return taken


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 6), st.floats(0, 4), st.integers(0, 99))
def test_the_order_is_that_of_all_distances(
    num_crops: int, per_crop: int, top_k: int, furthest: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.integers(0, 9, (num_crops, per_crop)) / 2, axis=1)  # with ties
    rows = rng.integers(0, 5, (num_crops, per_crop))
    found = nearest(distances, rows, furthest=furthest)
    assert found[:top_k] == follow(distances, rows, top_k, furthest)


def test_who_is_found_and_has_no_room_is_told(tmp_path: Path) -> None:
    ours, shop = retriever(top_k=[1], per_crop=1), Shop([PINK, GREEN])
    (found,) = ours.find(shop, folder=tmp_path)
    assert [(one.name, one.fits) for one in found] == [("<green>", True), ("<red>", False)]
    assert ours.choose(shop, folder=tmp_path) == (("<green>",),)


def test_examples_are_the_same_but_for_whom_they_introduce(tmp_path: Path) -> None:
    shop = Shop([RED], [BLUE, GREEN])
    ours = retriever()
    chosen = ours.choose(shop, folder=tmp_path)
    for example_, plain in zip(ours.introduce(shop, chosen), [shop[0], shop[1]], strict=True):
        assert example_.pool == chosen[int(plain.id)]
        assert all(r.info == f"{r.name}!" and r.image is not None for r in example_.references)
        rest = ("id", "query", "question", "answers", "present", "num_concepts", "scene")
        assert all(getattr(example_, key) == getattr(plain, key) for key in rest)


def test_nobody_is_introduced_where_nothing_is_proposed(tmp_path: Path) -> None:
    ours = retriever(proposer=Nothing())
    chosen = ours.choose(Shop([RED]), folder=tmp_path)
    assert ours.introduce(Shop([RED]), chosen)[0].references == ()


def test_the_album_tells_what_to_look_for_and_the_same_scenes_are_looked_at_once(
    tmp_path: Path,
) -> None:
    ours = retriever()
    for _ in range(2):
        ours.choose(Shop([RED], [BLUE]), folder=tmp_path)
    assert isinstance(ours.proposer, Columns)
    assert ours.proposer.looked_for == [["paint"], ["paint"]]


class Blind(Shop):
    """A dataset whose example has no query."""

    def __getitem__(self, index: int) -> Example:
        return example("blind", [Noise(1)])


def test_a_query_without_a_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="blind: has no query picture"):
        retriever().choose(Blind([RED]), folder=tmp_path)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(0.0, 0.0, 9.0, 9.0), (4, 2)),
        (Box(-3.0, 0.4, 1.6, 1.0), (2, 1)),
        (Box(3.9, 1.9, 3.9, 1.9), (1, 1)),
        (Box(7.0, 7.0, 8.0, 8.0), (1, 1)),
    ],
)
def test_a_crop_is_inside_the_picture_and_not_empty(box: Box, size: tuple[int, int]) -> None:
    assert cut(Image.new("RGB", (4, 2)), box).size == size
