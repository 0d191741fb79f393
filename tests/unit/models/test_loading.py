import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from repic.models import loading
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
        ({"dtype": "float8"}, "model.dtype: 'float8' is not one of float32, bfloat16, float16"),
        ({"attention": "fast"}, "model.attention: 'fast' is not one of auto"),
        ({"path": "/no/such/folder"}, "model.path: there is no directory /no/such/folder"),
        ({"export": "lora"}, "model.export: 'lora' is not one of adapter, merged, merged_float32"),
        ({"export": "adapter"}, "model.export=adapter leaves out weights that are trained"),
    ],
)
def test_a_wrong_setting_is_named(qwen: Path, changes: dict, said: str) -> None:
    path = changes.pop("path", qwen)
    with pytest.raises(ValueError, match=said):
        tiny.load(path, **changes)


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    folder = tiny.build_qwen(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights.pop("visual.merger.mlp.0.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"weights are missing \(model.visual.merger.mlp.0.weight"):
        tiny.load(folder)


def test_an_unknown_adapter_setting_is_refused(qwen: Path) -> None:
    with pytest.raises(ValueError, match=r"model.lora takes r, alpha and dropout, not rank"):
        tiny.load(qwen, lora={"rank": 4, "alpha": 8, "dropout": 0.0})


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
