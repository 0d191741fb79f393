"""Weights that are read when their turn comes are those that would have been read at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from repic.models.deferred import (
    DeferredWeight,
    deferring,
    fill,
    fill_in_passing,
    is_deferred,
)
from repic.models.export import export_policy
from repic.models.loading import load_policy
from tests import tiny
from tests.tiny import SETTINGS, build_llava, build_qwen, rewrite_json

LORA = {"r": 4, "alpha": 8, "dropout": 0.0}


def deferred(folder: Path, **changes: Any) -> nn.Module:
    with torch.random.fork_rng(), deferring():
        torch.manual_seed(0)
        return load_policy(str(folder), **{**SETTINGS, **changes}).model


@pytest.mark.parametrize("build", [build_qwen, build_llava])
@pytest.mark.parametrize("changes", [{}, {"lora": LORA, "dtype": "bfloat16"}])
def test_a_model_takes_no_memory_until_it_is_filled_and_is_then_the_same(
    build: Any, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = build(tmp_path)
    model, whole = deferred(folder, **changes), tiny.load(folder, **changes).model
    places = {name: p for name, p in model.named_parameters() if ".lora_" not in name}
    assert all(is_deferred(place) for place in places.values())
    assert {place.untyped_storage().nbytes() for place in places.values()} <= {2, 4}
    fill(model)
    assert not any(map(is_deferred, model.parameters()))
    own = dict(model.named_parameters())
    for name, expected in whole.named_parameters():
        assert torch.equal(own[name], expected)
        assert (own[name].dtype, own[name].requires_grad) == (
            expected.dtype,
            expected.requires_grad,
        )
    for (name, buffer), (_, expected) in zip(
        model.named_buffers(), whole.named_buffers(), strict=True
    ):
        assert torch.equal(buffer, expected), name


def test_tied_weights_are_read_once(tmp_path: Path) -> None:
    folder = build_qwen(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    text = {**tiny.load(build_qwen(tmp_path / "other")).network.config.text_config.to_dict()}
    rewrite_json(
        folder / "config.json",
        tie_word_embeddings=True,
        text_config={**text, "tie_word_embeddings": True},
    )
    model: Any = deferred(folder)
    read = []

    def note(place: DeferredWeight) -> torch.Tensor:
        read.append(place.key)
        return place.read()

    fill(model, note)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert sum("embed_tokens" in key for key in read) == 1


def test_what_is_wrong_with_a_file_is_told_as_if_it_were_read_at_once(tmp_path: Path) -> None:
    folder = build_qwen(tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name and "visual" not in name)
    weights[name][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{folder}/model.safetensors: {name} is NaN or infinite"):
        fill(deferred(folder))
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"weights are missing .*down_proj"):
        deferred(folder)


def test_adapters_are_merged_into_weights_as_they_are_read(tmp_path: Path) -> None:
    build_qwen(tmp_path / "base")
    trained = tiny.load(tmp_path / "base", lora=LORA, export="adapter")
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    (tmp_path / "adapter").mkdir()
    export_policy(trained, tmp_path / "adapter", sampling=tiny.sampling())
    for changes in ({}, {"dtype": "bfloat16", "lora": LORA}):
        model = deferred(tmp_path / "adapter", **changes)
        whole = tiny.load(tmp_path / "adapter", **changes).model
        assert sum(is_deferred(p) for p in model.parameters()) > 20
        own = dict(fill(model).named_parameters())
        for name, expected in whole.named_parameters():
            assert torch.equal(own[name], expected), name


@pytest.mark.parametrize("build", [build_qwen, build_llava])
def test_a_layer_reads_its_weights_in_passing(build: Any, tmp_path: Path) -> None:
    model: Any = deferred(build(tmp_path))
    ids = torch.arange(6)[None]
    with torch.no_grad():
        expected = tiny.load(tmp_path).model(ids).logits
        fill_in_passing(model)
        left = [name for name, p in model.named_parameters() if is_deferred(p)]
        for _ in range(2):
            assert torch.equal(model(ids).logits, expected)
    assert left == [name for name, p in model.named_parameters() if is_deferred(p)]
    assert {name.partition("layers.")[2][:2] for name in left if "language" in name} == {"0.", "1."}
