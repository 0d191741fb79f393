"""Directories of models that somebody else has made, by mistake or on purpose."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from repic.models import chat_template
from repic.models.chat_template import ChatTemplate
from repic.models.directory import find_model, read_header
from repic.models.encoder import _library_processor
from repic.models.images import image_processor
from tests import tiny
from tests.campaigns.files import of_weights
from tests.fakes import mixed_examples

HUGE = 10**12
LOOP = "{% for i in range(90000) %}"


@pytest.fixture
def model(qwen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen, tmp_path / "model"))


def test_a_header_that_lies_is_refused_before_a_weight_is_read(model: Path) -> None:
    file = model / "model.safetensors"
    for what, content in of_weights(file.read_bytes()):
        if what not in ("NaN", "whole numbers"):
            file.write_bytes(content)
            with pytest.raises(ValueError, match=r"model\.safetensors is damaged or cut short"):
                read_header(file)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", 3])
def test_weights_lie_in_the_model_s_folder(model: Path, name: object) -> None:
    (model / "model.safetensors").rename(model / "a.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json"):
        find_model(model)


def test_a_model_s_own_code_is_neither_run_nor_asked_about(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "was run"
    (model / "theirs.py").write_text(f"open({str(mark)!r}, 'w')\n")
    parts = {"AutoConfig": "theirs.C", "AutoModelForImageTextToText": "theirs.M"}
    tiny.rewrite_json(model / "config.json", model_type="theirs", auto_map=parts)
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("asked"))
    with pytest.raises(ValueError, match=f"{model}: needs code that lies in it, which is not run"):
        tiny.load(model)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", ["", "[]", "null", "[" * 9000])
def test_whatever_a_library_stumbles_over_is_a_sentence(
    model: Path, name: str, content: str
) -> None:
    (model / name).write_text(content)
    with pytest.raises(ValueError, match=str(model)):
        tiny.load(model)


@pytest.mark.parametrize(
    "template",
    [
        LOOP * 3 + "{% endfor %}" * 3,
        "{{ 'x' * 10 ** 11 }}",
        LOOP + "{{ 'x' * 100 }}{% endfor %}",
    ],
)
def test_a_template_without_end_is_refused(
    model: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 0.2)
    (model / "chat_template.jinja").write_text(template)
    begun = time.monotonic()
    with pytest.raises(ValueError, match=f"{model}: its chat template takes more than 0.2 seconds"):
        ChatTemplate(model, AutoTokenizer.from_pretrained(model))
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% include '/etc/passwd' %}",
        "{{ messages | nothing }}",
        "{% for m in messages %}",
        "{{ messages + 1 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_that_fails_says_whose_it_is(model: Path, template: str) -> None:
    (model / "chat_template.jinja").write_text(template)
    found = ChatTemplate(model, AutoTokenizer.from_pretrained(model))
    with pytest.raises(ValueError, match=f"{model}: its chat template fails"):
        found.render([{"role": "user", "content": "Who?"}])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"text_config": {"vocab_size": HUGE}}),
        ("config.json", {"vision_config": {"depth": HUGE}}),
        ("generation_config.json", {"eos_token_id": "x"}),
        ("generation_config.json", {"eos_token_id": [2, 384_000]}),
        ("generation_config.json", {"eos_token_id": True}),
        ("tokenizer_config.json", {"model_max_length": "long"}),
        ("preprocessor_config.json", {"patch_size": "seven"}),
        ("preprocessor_config.json", {"image_mean": [[], 0.5, 0.5]}),
    ],
)
def test_numbers_that_are_none_are_told(model: Path, name: str, changes: dict) -> None:
    known = json.loads((model / name).read_text())
    for key, value in changes.items():
        nested = isinstance(value, dict)
        tiny.rewrite_json(model / name, **{key: {**known[key], **value} if nested else value})
    with pytest.raises(ValueError, match=str(model)):
        tiny.load(model).encoder.encode(mixed_examples())


def test_a_side_file_of_gigabytes_is_not_read(model: Path) -> None:
    with (model / "tokenizer.json").open("wb") as file:
        os.truncate(file.fileno(), 20 << 30)
    with pytest.raises(ValueError, match=r"tokenizer\.json: has 21\.5 GB"):
        find_model(model)


def test_a_template_that_ends_for_some_is_ended_for_others(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 0.2)
    hidden = (
        "{% if messages[0].content == 'Who?' %}" + LOOP * 3 + "{% endfor %}" * 3 + "{% endif %}"
    )
    (model / "chat_template.jinja").write_text(hidden)
    found = ChatTemplate(model, AutoTokenizer.from_pretrained(model))
    assert found.render([{"role": "user", "content": "Where?"}]) == ""
    with pytest.raises(ValueError, match=f"{model}: its chat template takes more than 0.2 seconds"):
        found.render([{"role": "user", "content": "Who?"}])


@pytest.mark.parametrize("load", [_library_processor, image_processor])
def test_a_library_that_fails_without_a_word_is_told_by_its_error(
    load: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError

    for name in ("encoder.AutoProcessor", "images.AutoImageProcessor"):
        monkeypatch.setattr(f"repic.models.{name}.from_pretrained", fail)
    with pytest.raises(ValueError, match=r"^folder: .*ImportError"):
        load("folder")
