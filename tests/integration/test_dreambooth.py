"""conf/data/dreambooth.yaml reads real photos, where there are any, and says so where not.

REPIC_DATA=<folder> pytest tests/integration/test_dreambooth.py
"""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from repic.metrics.caption_files import read_predictions
from tests.integration.small import compose_run, start, summary_of
from tests.photos import draw_collection, photo


def compose() -> DictConfig:
    """The configuration as an evaluation completes it."""
    config, _ = compose_run("data=dreambooth")
    config.data.test.update(counts=[1], size=500, seed=0)
    return config


@pytest.fixture
def given(tmp_path: Path) -> tuple[str, ...]:
    """Overrides for a collection of ten photos, one of which shows two concepts."""
    collection = draw_collection(tmp_path / "data")
    collection.queries[next(iter(collection.queries))] = ["<bo>", "<jug>"]
    files = collection.write()
    places = [f"data.test.folders.{name}={place}" for name, place in files["folders"].items()]
    names = [f"data.test.{key}={files[key]}" for key in ("database", "queries")]
    return ("data=dreambooth", "method=zero_shot", f"data.root={collection.root}", *names, *places)


def test_counts_that_the_photos_do_not_have_are_passed_over(
    model: Path, tmp_path: Path, given: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    more = ("metrics.counts=[1,2,3]", "phase.evaluate.per_count=500")
    with caplog.at_level("INFO"):
        folder = start(model, tmp_path, *given, *more, letters=False)
    metrics = summary_of(folder)["metrics"]
    for cells in metrics.values():
        assert {count: cell["num_examples"] for count, cell in cells.items()} == {
            "1": 9,
            "2": 1,
            "all": 10,
        }
        assert "cider" not in cells["all"]  # photos have no reference captions
    assert len(read_predictions(folder)) == len(metrics) * 10
    assert caplog.text.count("9 with 1, 1 with 2, none with 3") == 1
    page = (folder / "report.html").read_text()
    assert "acc@2" in page
    assert "acc@3" not in page
    assert "CIDEr by number of concepts" not in page  # there is nothing in it


def test_a_photo_that_changes_under_its_name_is_captioned_anew(
    model: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    def captions(name: str, *more: str) -> int:
        start(model, tmp_path, *given, "metrics.counts=[1]", *more, name=name, letters=False)
        return len(list((tmp_path / "cache" / "captions").glob("*.jsonl")))

    before = captions("one")
    assert captions("two", "seed=1") == before == 2  # the base model's, and of naming everybody
    fresh = captions("three", "fresh=true")
    assert fresh == before
    assert len(list(tmp_path.glob("three/*/cache/captions/*.jsonl"))) == before
    for path in (tmp_path / "data" / "photos").rglob("*.jpg"):
        photo(path, shade=200)
    with pytest.raises(ValueError, match=r"is done, but the files of data\.root have changed"):
        captions("one")
    assert captions("four") == before + 2  # "one" has the same settings, and is not taken for it


def test_photos_with_none_of_the_counts_are_refused(
    model: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"data\.test: no example has 4 or 5 concepts"):
        start(model, tmp_path, *given, "metrics.counts=[4,5]", letters=False)


@pytest.mark.parametrize(("size", "taken"), [("3", 3), ("null", 9)])
def test_a_size_in_the_configuration_stands(
    model: Path, tmp_path: Path, given: tuple[str, ...], size: str, taken: int
) -> None:
    folder = start(
        model, tmp_path, *given, "metrics.counts=[1]", f"data.test.size={size}", letters=False
    )
    assert summary_of(folder)["metrics"]["base"]["1"]["num_examples"] == taken


@pytest.fixture
def _photos() -> None:
    if not os.environ.get("REPIC_DATA"):
        pytest.skip("REPIC_DATA is not set: no real photos here")


@pytest.mark.usefixtures("_photos")
def test_every_real_photo_becomes_a_prompt() -> None:
    config = compose()
    dataset, prompt = instantiate(config.data.test), instantiate(config.data.prompt)
    examples = list(dataset)
    assert len(examples) == len({e.id for e in examples}) == 158
    assert len({e.present for e in examples}) == 30
    assert Counter(e.question for e in examples).most_common(1)[0][1] == 40  # 158 / 4, rounded up
    for example in examples:
        assert example.pool == example.present
        system, user = prompt.messages(example)
        kinds = [item["type"] for item in user["content"]]
        assert kinds == ["image", "text", "image", "text"]
        assert f"1. Name: {example.present[0]}" in prompt.text(example)
        assert all(image.load().mode == "RGB" for image in example.images)
        assert system["content"][0]["text"].startswith("You write captions.")
    assert sum("Info:" not in prompt.text(e) for e in examples) == 6  # those of <fancy_boot>
    assert prompt.text(examples[0]).endswith(
        "<image>\n1. Name: <backpack>, Info: <backpack> is a red backpack with multiple colorful"
        " patches attached to it.\n"
        "<image>\nThis is the query image. Write a caption for this photo."
    )


@pytest.mark.usefixtures("_photos")
def test_absent_dogs_are_introduced_beside_a_dog() -> None:
    config = compose()
    config.data.test.num_absent = 2
    for example in instantiate(config.data.test):
        assert len(example.pool) == 3
        assert set(example.present) < set(example.pool)
        if re.fullmatch(r"<dog\d?>", example.present[0]):
            assert all(re.fullmatch(r"<dog\d?>", name) for name in example.pool)
