"""The groups of real photos, on miniatures in the published layouts, and on the published lists.

REPIC_DATA=<folder> pytest tests/integration/test_photo_groups.py  reads the published lists, too.
"""

import html
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from PIL import Image

from repic import run
from repic.data import inventory
from repic.data.album import read_album
from repic.data.folder import who_is_where
from repic.metrics.caption_files import read_predictions
from tests.integration.small import compose_run, start
from tests.photos import LAYOUTS, draw_group, draw_montage_photos, photo

# Group -> photos, concepts, prompts: facts of RePIC's released lists.
PUBLISHED = {
    "dreambooth": (158, 30, 158),
    "myvlm": (340, 29, 340),
    "yollava": (333, 40, 333),
    "repic_2": (82, 16, 82),
    "repic_4": (4, 32, 105),
}


def node(group: str, root: Path | None, **changes: Any) -> Any:
    """The test split's configuration, completed as an evaluation does."""
    config, _ = compose_run(f"data={group}", *([f"data.root={root}"] if root else []))
    asked = {"counts": [1, 2, 3, 4, 5], "size": None, "seed": 0}
    keys = list(config.data.test)  # asked itself, it has no key whose value is ???
    given = {key: value for key, value in asked.items() if key in keys}
    config.data.test.update({**given, **changes})
    return config.data.test


@pytest.mark.parametrize("group", LAYOUTS)
def test_a_miniature_in_the_published_layout_is_read(group: str, tmp_path: Path) -> None:
    queries = draw_group(tmp_path, group)
    examples = list(instantiate(node(group, tmp_path)))
    lists = [v if isinstance(v[0], list) else [v] for v in queries.values()]
    assert [list(e.present) for e in examples] == [names for prompts in lists for names in prompts]
    assert len({e.id for e in examples}) == len(examples)
    assert all(e.id.startswith(f"{group}/") for e in examples)
    assert all(e.pool == e.present for e in examples)
    assert all(image.load().size == (12, 8) for e in examples for image in e.images)
    for published, prompts in zip(queries, lists, strict=True):
        named = [e for e in examples if e.query and e.query.key.endswith(Path(published).name)]
        assert len(named) >= len(prompts)


@pytest.mark.parametrize("group", LAYOUTS)
def test_any_of_them_is_written_out_as_an_album(
    group: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_group(tmp_path, group)
    asked = ("+experiment=write_album", f"data={group}", f"data.root={tmp_path}")
    run.run_command("write_album", compose_run(*asked)[0], tmp_path / "run")
    place = tmp_path / "run" / "written"
    assert f"friends in {place}/album" in capsys.readouterr().out
    given = list(instantiate(node(group, tmp_path)))
    changes = {"data.root": place / "album", "data.photos": place / "photos"}
    config, _ = compose_run("data=folder", *(f"{key}={value}" for key, value in changes.items()))
    config.data.test.update({"counts": [1, 2, 3, 4, 5], "size": None, "seed": 0, "num_absent": 0})
    written = {e.query.load().tobytes(): e for e in instantiate(config.data.test)}
    for example in given:  # a photo of several prompts shows all whom they ask for
        again = written[example.query.load().tobytes()]
        assert set(example.present) <= set(again.present)
        own = {r.name: (r.info, r.image.load().tobytes()) for r in again.references}
        for r in example.references:
            assert own[r.name] == (r.info, r.image.load().tobytes())


def test_scenes_with_names_of_their_own_are_no_album(tmp_path: Path) -> None:
    config, _ = compose_run("+experiment=write_album", "data=toybox")
    with pytest.raises(ValueError, match=r"data.test: each of its scenes .* repic.toybox.album"):
        run.run_command("write_album", config, tmp_path)


def test_photos_with_masks(tmp_path: Path) -> None:
    """The thing is cut out on white, and its box is the mask's."""
    home = tmp_path / "break_a_scene" / "bear"
    photo(home / "img.jpg", 90)
    for number, corner in enumerate((0, 3, 6)):
        mask = Image.new("L", (12, 8))
        mask.paste(255, (corner, 1, corner + 3, 5))
        mask.save(home / f"mask{number}.png")
    examples = list(instantiate(node("break_a_scene", tmp_path, missing="skip")))
    assert [e.present for e in examples] == [("<bowl>", "<shell>", "<panda>")]
    (example,) = examples
    assert [m.box for m in example.scene.mentions] == [(0, 1, 3, 5), (3, 1, 6, 5), (6, 1, 9, 5)]
    assert {r.image.load().size for r in example.references} == {(3, 4)}
    Image.new("L", (12, 8)).save(home / "mask0.png")
    with pytest.raises(ValueError, match=r"mask0.png: marks nothing; draw"):
        instantiate(node("break_a_scene", tmp_path, missing="skip"))[0]


@pytest.mark.parametrize("group", LAYOUTS)
def test_the_configured_files_are_the_ones_the_mend_names(group: str) -> None:
    test = node(group, None)
    for name in (test.database, test.queries, *test.folders.values()):
        assert re.search(rf"^  {re.escape(name)}(\b|/)", test.how_to_get, re.MULTILINE), name
    assert re.search(r"licence|CC BY", test.how_to_get)


@pytest.mark.parametrize("group", LAYOUTS)
def test_without_photos_the_mend_is_said(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPIC_DATA", raising=False)
    with pytest.raises(Exception, match=r"no folder is set\. Set REPIC_DATA"):
        instantiate(node(group, None))


def test_group_photos_are_captioned_and_tabled_by_prompt(model: Path, tmp_path: Path) -> None:
    draw_group(tmp_path / "data", "repic_4")
    given = ("data=repic_4", "method=zero_shot", f"data.root={tmp_path / 'data'}")
    folder = start(model, tmp_path, *given, "metrics.counts=[4]", letters=False)
    predictions = [p for p in read_predictions(folder) if p.phase == "base"]
    assert len({p.id for p in predictions}) == len(predictions) == 2
    assert all("<black widow>" in p.present for p in predictions)
    assert "1. Name: <thor>, Info: <thor> is somebody." in predictions[0].prompt


def test_montages_are_captioned_rewarded_and_shown_with_boxes(model: Path, tmp_path: Path) -> None:
    draw_montage_photos(tmp_path / "data")
    given = ("data=montages", "method=zero_shot", f"data.root={tmp_path / 'data'}")
    small = ("metrics.counts=[2,5]", "phase.evaluate.per_count=2", "data.test.width=96")
    folder = start(model, tmp_path, *given, *small, letters=False)
    predictions = [p for p in read_predictions(folder) if p.phase == "base"]
    assert [p.num_concepts for p in predictions] == [2, 2, 5, 5]
    for prediction in predictions:
        assert prediction.images[-1].startswith("montage:96:8:")
        assert set(prediction.present) < set(prediction.pool)
        # What is judged by looks is not judged; names are.
        assert prediction.rewards["binding"] is None
        assert prediction.rewards["fact_precision"] is None
        assert prediction.rewards["recognition"] is not None
    page = (folder / "report.html").read_text()
    # The page shows one montage of each count, with a box for everybody who is in it.
    assert page.count('<div class="box"') == 2 + 5
    for name in (*predictions[0].present, *predictions[2].present):
        assert f"<span>{html.escape(name)}</span>" in page


def test_what_is_at_hand_is_evaluated_and_what_is_not_is_counted(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inventory.tell_left_out.cache_clear()
    draw_group(tmp_path / "data", "yollava")
    photos = tmp_path / "data/yollava-data/test"
    (photos / "brown-duck/1.png").unlink()
    given = ("data=yollava", "method=zero_shot", f"data.root={tmp_path / 'data'}")
    with pytest.raises(Exception, match=r"1 of 3 query photos.*yollava-data/test/brown-duck/1"):
        start(model, tmp_path, *given, "metrics.counts=[1]", name="refused", letters=False)
    skip = (*given, "metrics.counts=[1]", "data.missing=skip")
    folder = start(model, tmp_path, *skip, letters=False)
    assert len({p.id for p in read_predictions(folder)}) == 2
    assert "1 of 3 prompts of yollava are left out" in caplog.text
    shutil.rmtree(photos)
    with pytest.raises(ValueError, match=r"data\.test: no example has 1 concepts"):
        start(model, tmp_path, *skip, name="nothing", letters=False)
    assert "3 of 3 prompts of yollava are left out" in caplog.text


@pytest.fixture
def lists() -> Path:
    if not os.environ.get("REPIC_DATA"):
        pytest.skip("REPIC_DATA is not set: no published lists here")
    return Path(os.environ["REPIC_DATA"])


@pytest.mark.parametrize("group", PUBLISHED)
def test_the_published_lists_are_read_whole(group: str, lists: Path, tmp_path: Path) -> None:
    """Every photo is a stand-in here; which are asked for, and how, is as published."""
    test = node(group, tmp_path)
    (tmp_path / "repic").mkdir()
    for name in (test.database, test.queries):
        if not (lists / name).is_file():
            pytest.skip(f"{lists / name} is not there")
        shutil.copy(lists / name, tmp_path / name)
    for paths in instantiate(node(group, tmp_path, missing="skip")).inventory.files.values():
        for shade, path in enumerate(paths):
            photo(path, shade % 256)
    test.missing = "refuse"
    dataset = instantiate(test)
    photos, concepts, prompts = PUBLISHED[group]
    examples = list(dataset)
    assert len({e.query.key for e in examples}) == photos
    assert len(dataset.database) == concepts
    assert len(examples) == len({e.id for e in examples}) == prompts
    turns = Counter(e.question for e in examples)
    assert set(turns) == set(test.questions)
    assert max(turns.values()) - min(turns.values()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "friends", "photos"), [("dreambooth", 30, 158), ("break_a_scene", 20, 7)]
)
def test_real_photos_are_an_album(
    group: str, friends: int, photos: int, lists: Path, tmp_path: Path
) -> None:
    if not (lists / group).is_dir():
        pytest.skip(f"{lists / group} is not there")
    config, _ = compose_run("+experiment=write_album", f"data={group}", f"data.root={lists}")
    run.run_command("write_album", config, tmp_path)
    album = read_album(tmp_path / "written" / "album", largest=None)
    assert len(album.friends) == friends
    assert all(friend.photos for friend in album.friends)
    assert len(who_is_where(tmp_path / "written" / "photos", album, largest=None)) == photos
