"""conf/data/dreambooth.yaml reads real photos, where there are any, and says so where not.

REPIC_DATA=<folder> pytest tests/integration/test_dreambooth.py
"""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[2] / "conf/data/dreambooth.yaml"


def compose() -> DictConfig:
    return OmegaConf.create({"seed": 0, "data": OmegaConf.load(CONF)})


def test_without_photos_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPIC_DATA", raising=False)
    with pytest.raises(Exception, match=r"no folder is set") as raised:
        instantiate(compose().data.test)
    for part in ("REPIC_DATA", "github.com/google/dreambooth (CC BY 4.0)", "dreambooth/<subject>/"):
        assert part in str(raised.value)


def test_the_configured_files_are_the_ones_the_mend_names() -> None:
    test = compose().data.test
    for name in (test.database, test.queries, *test.folders.values()):
        assert re.search(rf"^  {re.escape(name)}\b", test.how_to_get, re.MULTILINE)


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
