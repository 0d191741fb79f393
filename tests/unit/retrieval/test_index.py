"""An index finds what a plain comparison finds, and notices every change of what it was made of."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from repic.data.images import FileImage
from repic.retrieval.index import ENTRIES, INDEX, open_index
from repic.retrieval.parts import unit
from repic.types import Reference
from tests.fakes import Noise


class Corner:
    """Embeds by the first pixels, and remembers how many pictures it was given each time."""

    def __init__(self, version: str = "corner 1", size: int = 2) -> None:
        self.version, self.size, self.asked = version, size, []

    def __call__(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.asked.append(len(pictures))
        rows = [np.asarray(p)[: self.size, : self.size].ravel() - 127.0 for p in pictures]
        return unit(np.array(rows))


@dataclass(frozen=True)
class Plain:
    """One colour all over."""

    colour: tuple[int, int, int]

    @property
    def key(self) -> str:
        return f"plain:{self.colour}"

    def load(self) -> Image.Image:
        return Image.new("RGB", (4, 4), self.colour)


def noise_album(count: int, first: int = 0) -> list[Reference]:
    return [Reference(f"<n{i:02}>", None, Noise(i)) for i in range(first, first + count)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 15), st.integers(0, 99))
def test_the_nearest_are_those_of_a_plain_comparison(
    tmp_path: Path, count: int, num_queries: int, nearest: int, seed: int
) -> None:
    album, embedder = noise_album(count), Corner()
    index = open_index(tmp_path, album, embedder)
    queries = unit(np.random.default_rng(seed).normal(size=(num_queries, 12)))
    distances, rows = index.search(queries, nearest)
    pictures = {r.name: r.image.load() for r in album if r.image is not None}
    vectors = embedder([pictures[name] for name in index.names])
    truth = ((queries[:, None] - vectors[None]) ** 2).sum(axis=-1)
    assert distances.shape == rows.shape == (num_queries, min(nearest, count))
    np.testing.assert_allclose(distances, np.sort(truth)[:, :nearest], atol=1e-5)
    np.testing.assert_allclose(distances, np.take_along_axis(truth, rows, axis=1), atol=1e-5)


def test_by_hand(tmp_path: Path) -> None:
    """Three colours as directions: red is nearest to orange, by 2 - 2 cos."""
    colours = {"<red>": (254, 0, 0), "<green>": (0, 254, 0), "<white>": (254, 254, 254)}
    album = [Reference(name, None, Plain(colour)) for name, colour in colours.items()]
    index = open_index(tmp_path, album, Corner(size=1))
    assert index.names == ("<green>", "<red>", "<white>")
    query = unit(np.array([[1.0, 0.0, -1.0]]))  # red is (1, -1, -1) / √3
    distances, rows = index.search(query, 3)
    assert [index.names[row] for row in rows[0]] == ["<red>", "<white>", "<green>"]
    cosines = np.array([2 / 6**0.5, 0.0, 0.0])
    np.testing.assert_allclose(distances[0], 2 - 2 * cosines, atol=1e-6)


def photos(folder: Path, shades: Sequence[int]) -> list[Reference]:
    references = []
    for i, shade in enumerate(shades):
        path = folder / f"{i}.png"
        Image.new("RGB", (4, 4), (shade, 20 * i, 9)).save(path)
        references.append(Reference(f"<p{i}>", None, FileImage(path)))
    return references


def test_a_photo_that_changes_is_embedded_anew_and_no_other(tmp_path: Path) -> None:
    photographs, cache = tmp_path, tmp_path / "cache"
    embedder = Corner()
    first = open_index(cache, photos(photographs, [1, 2, 3]), embedder)
    open_index(cache, photos(photographs, [1, 2, 3]), embedder)
    assert embedder.asked == [3]
    changed = open_index(cache, photos(photographs, [1, 250, 3]), embedder)
    assert embedder.asked == [3, 1]
    old, new = (i.faiss_index.reconstruct_n(0, 3) for i in (first, changed))
    assert [(a == b).all() for a, b in zip(old, new, strict=True)] == [True, False, True]
    assert len(list(cache.iterdir())) == 1
    open_index(cache, photos(photographs, [1, 250, 3]), embedder)
    assert embedder.asked == [3, 1]


def test_the_same_pixels_in_another_file_are_the_same_photo(tmp_path: Path) -> None:
    album, embedder = photos(tmp_path, [1, 2]), Corner()
    open_index(tmp_path / "cache", album, embedder)
    path = tmp_path / "0.png"
    before = path.read_bytes()
    Image.open(path).save(path, compress_level=0)
    assert path.read_bytes() != before
    open_index(tmp_path / "cache", album, embedder)
    assert embedder.asked == [2]


@given(st.permutations(range(6)))
def test_the_order_of_an_album_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    cache, album = tmp_path_factory.mktemp("order"), noise_album(6)
    straight = open_index(cache, album, Corner())
    shuffled = open_index(cache, [album[i] for i in order], Corner())
    assert shuffled.names == straight.names
    assert len(list(cache.iterdir())) == 1


def test_names_and_embedders_have_indices_of_their_own(tmp_path: Path) -> None:
    album = noise_album(3)
    open_index(tmp_path, album, Corner())
    open_index(tmp_path, album, Corner("corner 2"))
    open_index(tmp_path, album[:2], Corner())
    open_index(tmp_path, [Reference("<zo>", None, Noise(0)), *album[1:]], Corner())
    assert len(list(tmp_path.iterdir())) == 4


def damage_bytes(folder: Path) -> None:
    data = bytearray((folder / INDEX).read_bytes())
    data[-1] ^= 1
    (folder / INDEX).write_bytes(data)


def cut_short(folder: Path) -> None:
    (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:-20])


def lose_the_index(folder: Path) -> None:
    (folder / INDEX).unlink()


def halve_the_entries(folder: Path) -> None:
    text = (folder / ENTRIES).read_text()
    (folder / ENTRIES).write_text(text[: len(text) // 2])


def swap_two_names(folder: Path) -> None:
    entries = json.loads((folder / ENTRIES).read_text())
    entries["contents"] = entries["contents"][::-1]
    (folder / ENTRIES).write_text(json.dumps(entries))


def put_a_list(folder: Path) -> None:
    (folder / ENTRIES).write_text("[]")


@pytest.mark.parametrize(
    "harm",
    [damage_bytes, cut_short, lose_the_index, halve_the_entries, swap_two_names, put_a_list],
)
def test_a_damaged_index_is_noticed_and_made_anew(
    tmp_path: Path, harm, caplog: pytest.LogCaptureFixture
) -> None:
    album, embedder = noise_album(3), Corner()
    first = open_index(tmp_path, album, embedder)
    (folder,) = tmp_path.iterdir()
    harm(folder)
    again = open_index(tmp_path, album, embedder)
    assert "damaged or half written" in caplog.text
    assert embedder.asked == [3, 3]
    np.testing.assert_array_equal(
        first.faiss_index.reconstruct_n(0, 3), again.faiss_index.reconstruct_n(0, 3)
    )
    open_index(tmp_path, album, embedder)
    assert embedder.asked == [3, 3]


def test_an_interrupted_write_leaves_no_index_that_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Corner()
    album = photos(tmp_path, [1, 2])
    cache = tmp_path / "cache"
    open_index(cache, album, embedder)
    changed = photos(tmp_path, [1, 200])
    with monkeypatch.context() as patch:
        patch.setattr("repic.files.json.dumps", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_index(cache, changed, embedder)
    index = open_index(cache, changed, embedder)
    vectors = index.faiss_index.reconstruct_n(0, 2)
    loaded = [r.image.load() for r in changed if r.image is not None]
    np.testing.assert_allclose(vectors, Corner()(loaded), atol=1e-6)
    assert not list(cache.rglob("*.part"))


def test_bad_albums_are_refused(tmp_path: Path) -> None:
    album = noise_album(2)
    with pytest.raises(ValueError, match="no pictures, so there is nothing to retrieve"):
        open_index(tmp_path, [], Corner())
    with pytest.raises(ValueError, match="several pictures of <n00>"):
        open_index(tmp_path, [*album, album[0]], Corner())
    with pytest.raises(ValueError, match="no picture of <zo>"):
        open_index(tmp_path, [*album, Reference("<zo>", "a cat", None)], Corner())
