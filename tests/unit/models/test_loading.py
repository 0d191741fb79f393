import gc
import logging
import re
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from repic.models import loading
from repic.models.directory import fingerprint, read_header
from repic.models.export import export_policy
from repic.models.loading import choose_attention
from tests import tiny


def test_a_policy_is_loaded_as_asked(directory: Path) -> None:
    policy = tiny.load(directory, dtype="bfloat16", attention="eager")
    assert {p.dtype for p in policy.model.parameters()} == {torch.bfloat16}
    assert policy.network.config._attn_implementation == "eager"
    assert policy.source == directory
    assert policy.stop_ids == (policy.encoder.end_id,)
    assert not policy.training


def test_reading_a_large_model_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    small, large = (tiny.build_qwen(tmp_path / name) for name in ("small", "large"))
    caplog.set_level(logging.INFO)
    tiny.load(small)
    assert caplog.messages == []
    monkeypatch.setattr(loading, "_LARGE", 2**10)
    tiny.load(large)
    before, after = caplog.messages
    assert before.startswith(f"{large}: reading 0.0 GB of weights")
    assert " million weights, read in " in after


def test_the_models_own_end_tokens_stop_too(tmp_path: Path) -> None:
    folder = tiny.build_qwen(tmp_path)
    tiny.rewrite_json(folder / "generation_config.json", eos_token_id=[2, 0])
    assert tiny.load(folder).stop_ids == (0, 2)


def test_vision_attention_is_batched(qwen: Path) -> None:
    network = tiny.load(qwen).network
    assert all("forward" in vars(block.attn) for block in network.model.visual.blocks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "/no/such/folder"}, "model.path: there is no directory /no/such/folder"),
        ({"export": "adapter"}, "model.export=adapter leaves out weights that are trained"),
    ],
)
def test_a_wrong_setting_is_named(qwen: Path, changes: dict, said: str) -> None:
    path = changes.pop("path", qwen)
    with pytest.raises(ValueError, match=said):
        tiny.load(path, **changes)


NAME = "model.layers.0.self_attn.q_proj.weight"


def spoil(weights: dict[str, Tensor], kind: str) -> None:
    """Change one tensor, or what it is called."""
    value = weights[NAME]
    changed = {
        "nan": lambda: value.index_fill(0, torch.tensor(3), float("nan")),
        "infinite": lambda: value.index_fill(0, torch.tensor(3), -float("inf")),
        "beyond float32": lambda: value.double() + 1e300,
        "integer": lambda: value.to(torch.int8),
        "eighth": lambda: value.to(torch.float8_e4m3fn),
        "narrow": lambda: value[:, 1:].contiguous(),
        "empty": lambda: value[:0],
    }
    if kind in changed:
        weights[NAME] = changed[kind]()
    elif kind == "more":
        weights[NAME.replace("0", "7")] = value.clone()
    else:
        del weights[NAME]


@contextmanager
def changed(file: Path, change: Callable[[dict[str, Tensor]], object]) -> Iterator[None]:
    """Other weights in a file, for a while."""
    sound, weights, notes = file.read_bytes(), load_file(file), read_header(file).metadata
    change(weights)
    save_file(weights, file, notes)
    try:
        yield
    finally:
        file.write_bytes(sound)


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_qwen(tmp_path_factory.mktemp("spoiled") / "model")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nan", rf"model.safetensors: {NAME} is NaN or infinite in float32"),
        ("infinite", rf"model.safetensors: {NAME} is NaN or infinite in float32"),
        ("beyond float32", rf"model.safetensors: {NAME} is NaN or infinite in float32"),
        ("integer", rf"model.safetensors: {NAME} has numbers of type I8, and weights are F64, F32"),
        ("eighth", rf"model.safetensors: {NAME} has numbers of type F8_E4M3"),
        ("narrow", rf"safetensors: {NAME} has the shape \[32, 31\], and the model's is \[32, 32\]"),
        ("empty", rf"safetensors: {NAME} has the shape \[0, 32\], and the model's is \[32, 32\]"),
        ("more", r"model.safetensors: model.layers.7.* has no place in the model; copy"),
        ("missing", r"weights are missing \(model.language_model.layers.0.self_attn.q_proj.weight"),
    ],
)
def test_weights_that_are_none_are_not_loaded(
    spoiled: Path, kind: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with changed(spoiled / "model.safetensors", lambda weights: spoil(weights, kind)):
        with pytest.raises(ValueError, match=said) as caught:
            tiny.load(spoiled)
        assert str(spoiled) in str(caught.value)
        assert caplog.messages == []  # the sentence is all there is to read


def test_a_weight_that_is_too_large_for_a_precision_is_named(spoiled: Path) -> None:
    with changed(spoiled / "model.safetensors", lambda w: w.update({NAME: w[NAME] + 1e5})):
        assert tiny.load(spoiled, dtype="bfloat16").network.dtype == torch.bfloat16
        with pytest.raises(ValueError, match=r"in float16; .* or load it with another dtype"):
            tiny.load(spoiled, dtype="float16")


def test_other_precisions_and_forgotten_buffers_are_loaded(spoiled: Path) -> None:
    def mix(weights: dict[str, Tensor]) -> None:
        weights[NAME] = weights[NAME].double()
        weights["lm_head.weight"] = weights["lm_head.weight"].half()

    with changed(spoiled / "model.safetensors", mix):
        assert tiny.load(spoiled).network.dtype == torch.float32


@pytest.fixture(scope="module")
def adapters(spoiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of adapters on the model."""
    policy = tiny.load(spoiled, lora={"r": 2, "alpha": 4.0, "dropout": 0.0}, export="adapter")
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    folder = tmp_path_factory.mktemp("adapters")
    export_policy(policy, folder, sampling=tiny.sampling())
    return folder


DOWN = "base_model.model.model.language_model.layers.0.mlp.down_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.update({DOWN: w[DOWN] * torch.nan}), rf"{DOWN} is NaN or infinite"),
        (lambda w: w.update({DOWN: w[DOWN].int()}), rf"{DOWN} has numbers of type I32"),
        (lambda w: w.pop(DOWN), rf"are not those that adapter_config.json lists \({DOWN}\)"),
        (lambda w: w.update({DOWN.replace("0", "9"): w.pop(DOWN)}), r"are not those that"),
        (lambda w: w.update({DOWN: w[DOWN][:, 1:].contiguous()}), r"size mismatch for .*down_proj"),
        (
            lambda w: w.update({"x.bias": w[DOWN].clone()}),
            r"holds more than low-rank .* \(x.b",
        ),
    ],
)
def test_adapters_that_are_none_are_not_merged(adapters: Path, change: Any, said: str) -> None:
    with changed(adapters / "adapter_model.safetensors", change):
        with pytest.raises(ValueError, match=said) as caught:
            tiny.load(adapters)
        assert str(adapters) in str(caught.value)


def test_what_adapters_are_added_to_is_in_their_fingerprint(adapters: Path, spoiled: Path) -> None:
    before = fingerprint(adapters)
    for name in ("config.json", "generation_config.json"):
        file = spoiled / name
        sound = file.read_bytes()
        file.write_bytes(sound + b" ")
        assert fingerprint(adapters) != before
        file.write_bytes(sound)
    assert fingerprint(adapters) == before


def test_adapters_on_adapters_are_refused(adapters: Path, tmp_path: Path) -> None:
    nested = Path(shutil.copytree(adapters, tmp_path / "nested"))
    name = {"base_model_name_or_path": str(adapters)}
    tiny.rewrite_json(nested / "adapter_config.json", **name)
    with pytest.raises(ValueError, match=r"nested: its base, .* holds adapters itself; merge"):
        tiny.load(nested)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "preprocessor_config.json"])
def test_a_file_that_the_library_cannot_read_is_told_in_a_sentence(
    spoiled: Path, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(spoiled, tmp_path / "model"))
    for content in (b"", b"{", b"[]", b"\xff\x00"):
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(str(folder))):
            tiny.load(folder)


@pytest.mark.parametrize(
    ("cuda", "flash", "dtype", "expected"),
    [
        (True, True, torch.bfloat16, "flash_attention_2"),
        (True, True, torch.float16, "flash_attention_2"),
        (True, True, torch.float32, "sdpa"),
        (True, False, torch.bfloat16, "sdpa"),
        (False, True, torch.bfloat16, "sdpa"),
    ],
)
def test_automatic_attention(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, flash: bool, dtype: torch.dtype, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(loading, "is_flash_attn_2_available", lambda: flash)
    assert choose_attention("auto", dtype) == expected
    assert choose_attention("eager", dtype) == "eager"
    if expected == "sdpa":
        with pytest.raises(ValueError, match=r"flash-attn.*auto does without"):
            choose_attention("flash_attention_2", dtype)
    else:
        assert choose_attention("flash_attention_2", dtype) == "flash_attention_2"


def test_a_large_model_is_not_read_beside_one_that_nobody_needs(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_LARGE", 0)
    old = [tiny.load(qwen)]
    old.append(old)  # a cycle, as a trainer makes one
    seen, is_automatic = weakref.ref(old[0]), gc.isenabled()
    gc.disable()
    try:
        del old
        assert seen() is not None
        loading.load_network(qwen, dtype=torch.float32, attention="sdpa")
        assert seen() is None
    finally:
        if is_automatic:
            gc.enable()
