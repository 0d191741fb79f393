"""An album of picture files is learned from: SFT, then RL, then an evaluation."""

import csv
import shutil
from pathlib import Path

import pytest
from hydra.errors import InstantiationException

from repic.metrics.caption_files import read_predictions
from repic.toybox.album import write_album
from tests.integration.small import rows_of, start

SIZES = {"friends": 3, "per_friend": 2, "photos": 4, "strangers": (0, 1), "scale": 1.0}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    write_album(folder, **SIZES, seed=0)
    return folder


def data_of(toys: Path, train: Path) -> tuple[str, ...]:
    folders = (
        f"data.root={toys}/album",
        f"data.photos={toys}/photos",
        f"data.train_photos={train}",
    )
    return ("data=folder", *folders)


@pytest.mark.slow
def test_sft_and_rl_learn_from_photos_with_captions(
    toys: Path, model: Path, tmp_path: Path
) -> None:
    asked = (*data_of(toys, toys / "photos"), "concepts=two", "reward=combined")
    folder = start(model, tmp_path, *asked, letters=False)
    rows = rows_of(folder)
    assert any("sft/loss" in row for row in rows)
    rewards = {key for row in rows for key in row if key.startswith("grpo/reward/")}
    assert {"grpo/reward/recognition", "grpo/reward/cider", "grpo/reward/fluency"} <= rewards
    said = [p for p in read_predictions(folder) if p.phase == "grpo"]
    assert {p.images[-1] for p in said} == {f"{toys}/photos/{n}.png" for n in (1, 2)}


def uncaptioned(toys: Path, folder: Path) -> Path:
    """The same photos, of which nobody says anything but who is there."""
    shutil.copytree(toys / "photos", folder)
    with (folder / "who.csv").open(newline="") as file:
        rows = [f"{row['photo']},{row['names']}" for row in csv.DictReader(file)]
    (folder / "who.csv").write_text("\n".join(["photo,names", *rows]))
    return folder


@pytest.mark.slow
def test_rl_needs_no_captions(toys: Path, model: Path, tmp_path: Path) -> None:
    photos = uncaptioned(toys, tmp_path / "photos")
    asked = ("method=rl", *data_of(toys, photos), "concepts=two", "reward=recognition")
    folder = start(model, tmp_path, *asked, letters=False)
    rewards = {key for row in rows_of(folder) for key in row if key.startswith("grpo/reward/")}
    assert "grpo/reward/recognition" in rewards


def test_sft_says_that_it_needs_captions(toys: Path, model: Path, tmp_path: Path) -> None:
    photos = uncaptioned(toys, tmp_path / "photos")
    with pytest.raises(
        InstantiationException, match=r"photos: no photo has a caption, which SFT learns from"
    ):
        start(model, tmp_path, "method=sft", "reward=none", *data_of(toys, photos))
