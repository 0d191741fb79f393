from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from repic.data.images import FileImage
from repic.phases.evaluate import Evaluation
from repic.types import Example
from tests.fakes import Noise, example


class Drawn(list[Example]):
    follows_from_settings = True


def content(examples: Sequence[Example]) -> str:
    """Of a validation on one set of examples."""
    evaluation = SimpleNamespace(
        metrics=SimpleNamespace(counts=[1]),
        split="val",
        per_count=1,
        seed=0,
        demonstrations="right",
    )
    prompt = SimpleNamespace(
        messages=lambda e: [{"content": [{"type": "image", "image": e.query}]}]
    )
    context = SimpleNamespace(prompt=prompt, dataset=lambda **_: examples)
    return Evaluation.content(cast(Any, evaluation), cast(Any, context))


def test_controls_are_of_clips() -> None:
    evaluation = SimpleNamespace(
        metrics=SimpleNamespace(scorer=SimpleNamespace(check=lambda: None)),
        demonstrations="right", retrieval=None, per_count=1, controls=["shuffled"],
        sets=lambda context: {1: [example("e", query=Noise(1))]},
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"phase\.evaluate\.controls: e is about no clip"):
        Evaluation.check(cast(Any, evaluation), cast(Any, None))


def test_a_validation_is_known_by_what_its_files_hold_and_what_is_right(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (4, 4), "red").save(photo)
    asked = example("e", query=FileImage(photo))
    before = content([asked])
    assert content([asked]) == before
    for other in (replace(asked, answers=("Bo.",)), replace(asked, present=("<bo>",))):
        assert content([other]) != before
    Image.new("RGB", (4, 4), "blue").save(photo)
    assert content([example("e", query=FileImage(photo))]) != before
    assert content(Drawn([asked])) == content(Drawn([]))
