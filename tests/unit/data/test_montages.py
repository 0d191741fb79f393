"""What a montage looks like, and what is asked about it."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repic.data.montages import ROWS, MontageDataset, MontageImage, tiles
from repic.types import Box, ImageSource
from tests.photos import draw_montage_photos

ARGUMENTS: dict[str, Any] = {
    "photos": "dreambooth",
    "queries": None,
    "questions": ["What is there?", "Who is there?"],
    "width": 64,
    "gap": 2,
    "missing": "refuse",
    "counts": [2, 3, 4, 5],
    "size": None,
    "how_to_get": "Download it from the moon.",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("montages")
    draw_montage_photos(folder)
    return folder


@given(st.sampled_from(sorted(ROWS)), st.integers(60, 1500), st.integers(0, 20))
def test_photos_fill_the_picture_square_apart_and_in_order(
    count: int, width: int, gap: int
) -> None:
    boxes, (whole, height) = tiles(count, width=width, gap=gap)
    assert len(boxes) == count
    assert whole == width
    assert min(box.x0 for box in boxes) == min(box.y0 for box in boxes) == 0
    assert max(box.x1 for box in boxes) == width
    assert max(box.y1 for box in boxes) == height
    for box in boxes:
        assert box.x1 - box.x0 >= 1
        assert 0 <= (box.x1 - box.x0) - (box.y1 - box.y0) <= 1  # square to a pixel
    for a, b in combinations(boxes, 2):
        assert max(b.x0 - a.x1, a.x0 - b.x1, b.y0 - a.y1) >= gap
    assert boxes == sorted(boxes, key=lambda box: (box.y0, box.x0))


def test_three_above_two_worked_by_hand() -> None:
    boxes, size = tiles(5, width=64, gap=2)
    # (64 - 2 × 2) / 3 = 20 for each of three, and (64 - 2) / 2 = 31 for each of two.
    assert boxes == [
        Box(0.0, 0.0, 20.0, 20.0),
        Box(22.0, 0.0, 42.0, 20.0),
        Box(44.0, 0.0, 64.0, 20.0),
        Box(0.0, 22.0, 31.0, 53.0),
        Box(33.0, 22.0, 64.0, 53.0),
    ]
    assert size == (64, 53)


def test_every_photo_is_in_its_box_and_the_gap_is_white(tmp_path: Path) -> None:
    colours = {"a.png": (200, 0, 0), "b.png": (0, 200, 0), "c.png": (0, 0, 200)}
    for name, colour in colours.items():
        Image.new("RGB", (30, 30), colour).save(tmp_path / name)
    image = MontageImage(tmp_path, tuple(colours), 64, 2)
    assert isinstance(image, ImageSource)
    pixels = np.asarray(image.load())
    painted = np.zeros(pixels.shape[:2], dtype=bool)
    for box, colour in zip(image.boxes, colours.values(), strict=True):
        x0, y0, x1, y1 = map(int, box)
        assert (pixels[y0:y1, x0:x1] == colour).all()
        painted[y0:y1, x0:x1] = True
    assert (pixels[~painted] == 255).all()
    assert (~painted).sum() == 2 * 2 * pixels.shape[0]
    assert np.array_equal(pixels, np.asarray(image.load()))


def test_a_wide_photo_loses_as_much_on_the_left_as_on_the_right(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste((0, 0, 255), (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    Image.new("RGB", (30, 30)).save(tmp_path / "b.png")
    picture = MontageImage(tmp_path, ("wide.png", "b.png"), 62, 2).load()
    assert (np.asarray(picture)[2:-2, 2:28] == (0, 0, 255)).all()


def test_the_key_follows_from_everything_that_is_drawn() -> None:
    given = {"root": Path("r"), "photos": ("a.jpg", "b.jpg"), "width": 64, "gap": 2}
    changes: list[dict[str, Any]] = [
        {},
        {"root": Path("s")},
        {"photos": ("b.jpg", "a.jpg")},
        {"width": 66},
        {"gap": 3},
    ]
    assert len({MontageImage(**{**given, **change}).key for change in changes}) == len(changes)


def test_a_montage_is_asked_about_with_other_photos_of_its_subjects(root: Path) -> None:
    dataset = MontageDataset(root, **ARGUMENTS)
    assert len(dataset) == len({e.id for e in dataset}) == 200
    for example in dataset:
        assert isinstance(example.query, MontageImage)
        assert set(example.present) < set(example.pool)
        assert len(example.pool) - len(example.present) in (1, 2)
        assert example.num_concepts == len(example.present) == len(example.query.photos)
        introducing = {str(r.image.key) for r in example.references if r.image}
        assert len(introducing) == len(example.references)
        shown = {str(root / "dreambooth" / photo) for photo in example.query.photos}
        assert not introducing & shown
        assert all(reference.info is None for reference in example.references)
        assert example.scene is not None
        assert tuple(m.name for m in example.scene.mentions) == example.present
        assert not example.scene.is_described
    assert [dataset[i].question for i in (0, 1, 2)] == [
        "What is there?",
        "Who is there?",
        "What is there?",
    ]


def test_the_names_box_holds_the_names_photo(root: Path) -> None:
    dataset = MontageDataset(root, **ARGUMENTS)
    folders = {r.name: Path(r.image.key).parent.name for r in dataset.database if r.image}
    for example in (dataset[0], dataset[77], dataset[199]):
        assert example.query is not None
        assert example.scene is not None
        picture = example.query.load()
        for mention, photo in zip(example.scene.mentions, example.query.photos, strict=True):
            assert mention.name is not None
            assert mention.box is not None
            assert folders[mention.name] == photo.partition("/")[0]
            x, y = (round((mention.box[i] + mention.box[i + 2]) / 2) for i in (0, 1))
            alone = Image.open(root / "dreambooth" / photo).convert("RGB").getpixel((8, 8))
            assert picture.getpixel((x, y)) == alone


def test_the_database_has_all_thirty(root: Path) -> None:
    database = MontageDataset(root, **{**ARGUMENTS, "counts": [2], "size": 1}).database
    assert len({reference.name for reference in database}) == 30


def test_counts_and_size_choose(root: Path) -> None:
    assert len(MontageDataset(root, **{**ARGUMENTS, "counts": [1, 3]})) == 50
    some = MontageDataset(root, **{**ARGUMENTS, "counts": [3], "size": 5})
    assert [example.id.split("/")[1] for example in some] == ["51", "61", "71", "81", "91"]
    with pytest.raises(IndexError):
        some[5]


def test_what_is_missing_is_refused_or_skipped(tmp_path: Path) -> None:
    draw_montage_photos(tmp_path)
    whole = list(MontageDataset(tmp_path, **ARGUMENTS))
    (tmp_path / "dreambooth/dog/01.jpg").unlink()
    (tmp_path / "dreambooth/clock/03.jpg").unlink()
    with pytest.raises(ValueError, match=r"\(1 of 30 database pictures, 1 of") as raised:
        MontageDataset(tmp_path, **ARGUMENTS)
    assert "Download it from the moon." in str(raised.value)
    dataset = MontageDataset(tmp_path, **{**ARGUMENTS, "missing": "skip"})
    assert len(dataset.database) == 29
    (clock,) = {r.name for e in whole for r in e.references} - {r.name for r in dataset.database}
    kept = {example.id for example in dataset}
    for example in whole:
        photos = example.query.photos if isinstance(example.query, MontageImage) else ()
        lacks = clock in example.pool or "dog/01.jpg" in photos
        assert lacks == (example.id not in kept)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"width": 33}, "a width of 33"),
        ({"queries": "no.json"}, "no.json: no such file"),
    ],
)
def test_an_impossible_setting_is_refused(root: Path, change: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        MontageDataset(root, **{**ARGUMENTS, **change})
    with pytest.raises(ValueError, match=r"data\.root: no folder is set"):
        MontageDataset(None, **ARGUMENTS)
