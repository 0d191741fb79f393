import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repic.data.contents import dataset_content, prompt_content
from repic.data.images import FileImage
from repic.data.montages import MontageImage
from repic.toybox.dataset import CaptionDataset, SceneRules
from repic.toybox.scene import portrait
from repic.toybox.world import toys
from repic.types import Example, Mention, Reference, Scene, picture_content


def messages(example: Example) -> list[dict]:
    shown = [{"type": "image", "image": image} for image in example.images]
    infos = [{"type": "text", "text": f"{r.name} {r.info}"} for r in example.references]
    return [{"role": "user", "content": [*shown, *infos]}, {"role": "system", "content": "?"}]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def about(photo: Path) -> Example:
    bo = Reference("<bo>", "a dog", FileImage(photo))
    return Example("e", "caption", (bo,), FileImage(photo), "?", "It is <bo>.", (), ("<bo>",), 1)


def key(example: Example) -> str:
    return json.dumps(prompt_content(example, messages))


def test_a_prompt_is_known_by_what_its_files_hold(photo: Path, tmp_path: Path) -> None:
    before = key(about(photo))
    elsewhere = Path(photo.rename(tmp_path / "b.png"))
    assert key(about(elsewhere)) == before
    reference = replace(about(elsewhere).references[0], info="a cat")
    assert key(replace(about(elsewhere), references=(reference,))) != before
    Image.new("RGB", (4, 4), "blue").save(elsewhere)
    assert key(about(elsewhere)) != before
    elsewhere.unlink()
    assert key(about(elsewhere)) != before  # and the complaint comes where it is loaded


def test_a_montage_is_known_by_its_photos(photo: Path) -> None:
    def content() -> str:
        return picture_content(MontageImage(photo.parent, ("a.png", "a.png"), 100, 2))

    before = content()
    assert content() == before
    Image.new("RGB", (4, 4), "blue").save(photo)
    assert content() != before


def test_a_drawing_is_known_by_all_that_is_drawn() -> None:
    one, two = (portrait(toy, "seed", scale=1.0) for toy in list(toys("test"))[:2])
    assert one.key == two.key
    assert picture_content(one) != picture_content(two)


def test_a_dataset_is_known_by_its_files_unless_it_reads_none(photo: Path) -> None:
    rules = SceneRules((1, 2), 0.5, (0, 1), 0.1, 0.5, 0.4, 0.1)
    drawn = CaptionDataset(
        "train", counts=[1], size=9**9, seed=0, rules=rules, questions=["?"], scale=1.0
    )
    assert dataset_content(drawn, messages) is None
    before = dataset_content([about(photo)], messages)
    changes: dict[str, Any] = {
        "target": "<bo>!", "answers": ("<bo>!",), "present": (), "num_concepts": 2,
        "rejected": "<mi>", "task": "locate", "scene": Scene((Mention({}, "<bo>"),)),
    }  # fmt: skip
    for key, value in changes.items():
        other = replace(about(photo), **{key: value})
        assert dataset_content([other], messages) != before, key
    Image.new("RGB", (4, 4), "blue").save(photo)
    assert dataset_content([about(photo)], messages) != before
