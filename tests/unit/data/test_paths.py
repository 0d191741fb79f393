"""Paths in data files lead no further than the folder that they belong to, unless a key says so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repic.data.concepts import Folders
from repic.data.montage_list import FILE
from repic.data.montages import MontageDataset
from repic.data.personal import PhotoDataset
from repic.data.repic_train import read_samples
from repic.metrics.rescoring import CaptionRecord
from repic.phases.rescore import find_picture
from tests.photos import draw_collection, draw_montage_photos, draw_training, photo


def concept(root: Path, path: str, **options: Any) -> None:
    collection = draw_collection(root)
    collection.database["<bo>"]["image"] = f"./database_dreambooth/{path}"
    PhotoDataset(**{**collection.write(), "missing": "skip", **options})


def query(root: Path, path: str, **options: Any) -> None:
    collection = draw_collection(root)
    collection.queries[f"./dreambooth/{path}"] = ["<bo>"]
    PhotoDataset(**{**collection.write(), "missing": "skip", **options})


def sample(root: Path, path: str, leave_root: bool = False) -> None:
    draw_training(root)
    file = root / "repic/oict_training_5k_multi.json"
    records = json.loads(file.read_text())
    records[0]["image"][0] = path
    file.write_text(json.dumps(records))
    read_samples(file, root / "repic/training_images", may_leave=leave_root)


def montage(root: Path, path: str, **options: Any) -> None:
    draw_montage_photos(root)
    found = json.loads(FILE.read_text())
    subject = next(iter(found["subjects"]))
    found["subjects"][subject]["photos"].append(f"{subject}/{path}")
    (root / "list.json").write_text(json.dumps(found))
    settings = {"photos": "dreambooth", "questions": ["Who?"], "width": 64, "gap": 2}
    settings |= {"missing": "skip", "counts": [2], "size": 1, "how_to_get": "", **options}
    MontageDataset(root, queries=str(root / "list.json"), **settings)


READERS = (concept, query, sample, montage)


@pytest.mark.parametrize("path", ["../../../secret.jpg", "..\\..\\..\\secret.jpg", "a/link.jpg"])
@pytest.mark.parametrize("read", READERS)
def test_a_path_that_leaves_is_refused_with_its_place(
    read: Callable[..., None], path: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    photo(tmp_path / "secret.jpg", 7)
    for folder in ("photos", "real/crops", "repic/training_images", "dreambooth/backpack"):
        (root / folder / "a").mkdir(parents=True)
        (root / folder / "a/link.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(ValueError, match=r"\.json.*leads out of .*data\.leave_root=true"):
        read(root, path)
    read(root, path, leave_root=True)


def test_an_absolute_path_counts_as_where_it_leads(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    photo(folder / "bo.jpg", 7)
    photo(tmp_path / "mi.jpg", 7)
    record = CaptionRecord("captions.json, row 1", str(folder / "bo.jpg"), ("<bo>",), "<bo>")
    assert find_picture(str(folder), record).path == folder / "bo.jpg"
    for place in (str(tmp_path / "mi.jpg"), "../mi.jpg", "/etc/passwd"):
        other = CaptionRecord("captions.json, row 1", place, ("<bo>",), "<bo>")
        with pytest.raises(ValueError, match=r"captions\.json, row 1: .* leads out of"):
            find_picture(str(folder), other)


def test_windows_separators_are_read_and_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    photo(tmp_path / "disk/bo/00.jpg", 7)
    (tmp_path / "photos").symlink_to(tmp_path / "disk")
    place = Folders(tmp_path, {"dreambooth": "photos"}).locate("data\\dreambooth\\bo\\00.jpg")
    assert place == tmp_path / "photos/bo/00.jpg"
    assert place.is_file()
