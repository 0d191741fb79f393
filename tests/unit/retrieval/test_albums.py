"""Who is looked among whom: no album holds two right answers, and none is lost."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.data.personal import PhotoDataset
from repic.retrieval.albums import identities_of, make_albums
from repic.toybox.dataset import CaptionDataset, SceneRules
from repic.toybox.scene import ToyboxImage
from repic.types import Example, Reference, SceneIdentities
from tests.fakes import Noise, example
from tests.photos import CONCEPTS, draw_collection

SHARES = dict.fromkeys(("lookalike", "omit", "swap"), 0.0)
RULES = SceneRules(absent=[1, 2], strangers=[0, 2], drop_image=0.5, drop_info=0.3, **SHARES)


class Play:
    """Scenes that are nothing but their casts, one (names, introduced, shown) each."""

    def __init__(self, casts: Sequence[tuple[str, str, str]]) -> None:
        self.casts = casts

    def __len__(self) -> int:
        return len(self.casts)

    def __getitem__(self, index: int) -> Example:
        return example(str(index))

    def identities(self, index: int) -> SceneIdentities:
        names, introduced, shown = self.casts[index]
        references = tuple(Reference(f"<{name}>", None, Noise(ord(name))) for name in names)
        return SceneIdentities(references, frozenset(introduced), frozenset(shown))


def dealt(casts: Sequence[tuple[str, str, str]], size: int) -> list[list[int]]:
    return [album.scenes for album in make_albums(Play(casts), size=size)]


def test_by_hand() -> None:
    # Letters: names, beings introduced, beings in the query (strangers too).
    alone = ("a", "A", "A")
    assert dealt([alone, ("b", "B", "B")], 2) == [[0, 1]]
    assert dealt([alone, ("b", "B", "B"), ("c", "C", "C")], 2) == [[0, 1], [2]]
    assert dealt([alone, ("a", "B", "B")], 2) == [[0], [1]]  # one name, two beings
    assert dealt([alone, ("b", "A", "C")], 2) == [[0], [1]]  # one being, two names
    assert dealt([alone, ("b", "B", "A")], 2) == [[0], [1]]  # a stranger here is named there
    assert dealt([("a", "A", "B"), ("b", "B", "C")], 2) == [[0], [1]]  # and the other way round
    assert dealt([("a", "A", "S"), ("b", "B", "S")], 2) == [[0, 1]]  # a stranger in both
    # A scene that does not fit goes on; a later one that fits fills the gap.
    assert dealt([alone, ("a", "B", "B"), ("c", "C", "C")], 2) == [[0, 2], [1]]


letters = st.text("abcdef", min_size=1, max_size=3).map(lambda text: "".join(sorted(set(text))))


@given(st.lists(st.tuples(letters, letters, letters), max_size=12), st.integers(1, 5))
def test_every_scene_is_in_one_album_whose_scenes_agree(
    casts: list[tuple[str, str, str]], size: int
) -> None:
    albums = make_albums(Play(casts), size=size)
    assert sorted(i for album in albums for i in album.scenes) == list(range(len(casts)))
    for album in albums:
        assert len(album.scenes) <= size
        names = [reference.name for reference in album.references]
        assert len(set(names)) == len(names) == sum(len(casts[i][0]) for i in album.scenes)
        for i in album.scenes:
            for j in album.scenes:
                if i != j:
                    assert not set(casts[i][1]) & set(casts[j][1] + casts[j][2])


def toybox(scale: float = 1.0, rules: SceneRules = RULES) -> CaptionDataset:
    return CaptionDataset(
        "test", counts=[3], size=24, seed=0, rules=rules, questions=["?"], scale=scale
    )


def test_in_toybox_every_reference_has_a_portrait_and_every_toy_one_name() -> None:
    scenes = toybox()
    albums = make_albums(scenes, size=8)
    assert sum(len(album.scenes) for album in albums) == 24
    for album in albums:
        toys = {}
        for reference in album.references:
            assert isinstance(reference.image, ToyboxImage)
            ((toy, _),) = reference.image.beings
            assert toys.setdefault(toy, reference.name) == reference.name
        pool = {name for i in album.scenes for name in scenes[i].pool}
        assert {reference.name for reference in album.references} == pool
        for i in album.scenes:
            query = scenes[i].query
            assert isinstance(query, ToyboxImage)
            seen = {toys[toy] for toy, _ in query.beings if toy in toys}
            assert seen == set(scenes[i].present)


def test_a_cast_is_the_example_with_what_was_withheld() -> None:
    scenes = toybox()
    num_withheld = 0
    for i in range(8):
        own, identities = scenes[i].references, scenes.identities(i).references
        for mine, theirs in zip(own, identities, strict=True):
            num_withheld += mine.image is None
            assert theirs == (mine if mine.image else replace(mine, image=theirs.image))
    assert num_withheld > 0


def test_the_resolution_does_not_change_the_albums() -> None:
    one, other = make_albums(toybox(), size=8), make_albums(toybox(2.0), size=8)
    assert [album.scenes for album in one] == [album.scenes for album in other]


class Collection:
    """A dataset with a database."""

    database = (Reference("<bo>", "a dog", Noise(1)), Reference("<mi>", "a cat", None))
    kinds = ("dog", "cat")

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Example:
        return example(str(index))


def test_a_database_is_one_album_of_those_with_pictures() -> None:
    (album,) = make_albums(Collection(), size=2)
    assert album.scenes == list(range(20))
    assert [reference.name for reference in album.references] == ["<bo>"]
    assert album.kinds == ["dog", "cat"]


def test_photos_are_looked_up_in_their_concept_database(tmp_path: Path) -> None:
    photos = PhotoDataset(**draw_collection(tmp_path).write())
    (album,) = make_albums(photos, size=2)
    assert album.scenes == list(range(10))
    assert {reference.name for reference in album.references} == set(CONCEPTS)
    assert sorted(album.kinds) == ["dog", "vase"]


class Bare:
    """A dataset that says nothing but its examples."""

    def __init__(self, *examples: Example) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def test_elsewhere_a_withheld_picture_is_left_out_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = example("one", [Noise(1), None])
    with caplog.at_level("INFO"):
        (album,) = make_albums(Bare(one), size=2)
    assert [reference.name for reference in album.references] == [one.references[0].name]
    assert "1 of 2 references have no picture" in caplog.text


def test_elsewhere_equal_pictures_are_one_being() -> None:
    one, other = example("one", [Noise(1)]), example("other", [Noise(1)])
    renamed = replace(other, references=(replace(other.references[0], name="<zo>"),))
    assert identities_of(renamed).introduced == identities_of(one).introduced
    assert [album.scenes for album in make_albums(Bare(one, renamed), size=2)] == [[0], [1]]
