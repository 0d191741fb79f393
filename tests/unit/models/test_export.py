import copy
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from repic.models import export
from repic.models.engine.plain import PlainEngine
from repic.models.loading import fingerprint
from repic.models.policy import Policy
from tests import tiny
from tests.fakes import mixed_examples

TARGETS = ["a red bear", "a green cat, <bo>", "right"]
LORA = {"r": 4, "alpha": 8, "dropout": 0.1}


def scores(policy: Policy) -> torch.Tensor:
    return PlainEngine().target_logprobs(policy, mixed_examples(), TARGETS).logprobs.detach()


def trained(folder: Path, **changes: object) -> Policy:
    policy = tiny.load(folder, **changes)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return policy


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_an_export_is_the_policy(directory: Path, tmp_path: Path, lora: dict | None) -> None:
    policy = trained(directory, lora=lora, train_vision=True)
    expected = scores(policy)
    policy.train()
    policy.export(tmp_path / "out")
    assert policy.training
    again = tiny.load(tmp_path / "out")
    torch.testing.assert_close(scores(again), expected, atol=2e-5, rtol=0)
    assert (scores(tiny.load(directory)) - expected).abs().max() > 1e-2
    assert again.fingerprint == fingerprint(tmp_path / "out") != policy.fingerprint
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_untouched_weights_export_to_the_same_fingerprint(directory: Path, tmp_path: Path) -> None:
    tiny.load(directory).export(tmp_path / "out")
    assert fingerprint(tmp_path / "out") == fingerprint(directory)


def test_the_librarys_auto_classes_load_it(llava: Path, qwen: Path, tmp_path: Path) -> None:
    tiny.load(llava).export(tmp_path / "llava")
    processor = AutoProcessor.from_pretrained(tmp_path / "llava")
    assert processor.chat_template == tiny.LLAVA_CHAT
    tiny.load(qwen, max_pixels=1000).export(tmp_path / "qwen")
    assert AutoTokenizer.from_pretrained(tmp_path / "qwen").chat_template == tiny.QWEN_CHAT
    settings = json.loads((tmp_path / "qwen" / "preprocessor_config.json").read_text())
    assert settings["size"] == {"shortest_edge": 14 * 14, "longest_edge": 1000}


def test_merging_is_done_in_float32(qwen: Path, tmp_path: Path) -> None:
    policy = trained(qwen, lora=LORA, dtype="bfloat16")
    policy.export(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "float32"
    layer = policy.network.model.language_model.layers[0].mlp.up_proj
    delta = layer.lora_B["default"].weight.float() @ layer.lora_A["default"].weight.float() * 2
    merged = tiny.load(tmp_path / "out").network.model.language_model.layers[0].mlp.up_proj.weight
    expected = layer.base_layer.weight.float() + delta
    torch.testing.assert_close(merged, expected, atol=1e-7, rtol=0)
    assert not torch.equal(merged, merged.bfloat16().float())


def test_adapters_are_kept_beside(qwen: Path, tmp_path: Path) -> None:
    policy = trained(qwen, lora=LORA)
    policy.export(tmp_path / "out")
    base = AutoModelForImageTextToText.from_pretrained(qwen)
    adapted = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").eval()
    ours = dict(policy.model.named_parameters())
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, ours[name]), name


def test_an_export_replaces_an_older_one(qwen: Path, tmp_path: Path) -> None:
    tiny.load(qwen).export(tmp_path / "out")
    (tmp_path / "out" / "stale").touch()
    policy = trained(qwen)
    policy.export(tmp_path / "out")
    assert not (tmp_path / "out" / "stale").exists()
    torch.testing.assert_close(scores(tiny.load(tmp_path / "out")), scores(policy))
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_an_export_may_replace_its_own_source(tmp_path: Path) -> None:
    folder = tiny.build_qwen(tmp_path / "model")
    policy = trained(folder)
    policy.export(folder)
    torch.testing.assert_close(scores(tiny.load(folder)), scores(policy))


def test_a_wrong_merge_is_not_let_through(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = trained(qwen, lora=LORA)
    original = export._adapter_deltas
    monkeypatch.setattr(
        export, "_adapter_deltas", lambda network: {n: -d for n, d in original(network).items()}
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(ValueError, match="the exported model is not the trained one"):
        policy.export(tmp_path / "out")
    # The older export is still there, and nothing else.
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "precious"]


def test_weights_that_are_no_numbers_are_not_let_through(qwen: Path, tmp_path: Path) -> None:
    policy = trained(qwen)
    broken = copy.deepcopy(policy)
    with torch.no_grad():
        broken.trainable_parameters()[0].fill_(float("nan"))
    with pytest.raises(ValueError, match="not the trained one"):
        broken.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
