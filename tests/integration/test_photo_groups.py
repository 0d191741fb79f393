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

from repic.data import inventory
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
    config.data.test.update({"counts": [1, 2, 3, 4, 5], "size": None, "seed": 0, **changes})
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
