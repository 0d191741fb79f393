import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.core_model_loading import Transpose, WeightConverter

from repic.bench.held import HeldMemory
from repic.models import export
from repic.models.directory import ADAPTER, fingerprint, weights_fingerprint
from repic.models.engine.plain import PlainEngine
from repic.models.loading import load_network, merge_adapters
from repic.models.policy import Policy
from tests import tiny
from tests.fakes import mixed_examples

TARGETS = ["a red bear", "a green cat, <bo>", "right"]
LORA = {"r": 4, "alpha": 8, "dropout": 0.1}
GREEDY = tiny.sampling(temperature=0.0)


def scores(policy: Policy) -> torch.Tensor:
    return PlainEngine().target_logprobs(policy, mixed_examples(), TARGETS).logprobs.detach()


def trained(folder: Path, **changes: object) -> Policy:
    policy = tiny.load(folder, **changes)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return policy


def write(policy: Policy, folder: Path) -> Path:
    folder.mkdir()
    export.export_policy(policy, folder, sampling=GREEDY)
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_an_export_is_the_policy(directory: Path, tmp_path: Path, lora: dict | None) -> None:
    policy = trained(directory, lora=lora, train_vision=True)
    expected = scores(policy)
    policy.train()
    out = write(policy, tmp_path / "out")
    assert policy.training
    torch.testing.assert_close(scores(tiny.load(out)), expected, atol=2e-5, rtol=0)
    assert (scores(tiny.load(directory)) - expected).abs().max() > 1e-2
    assert fingerprint(out) != fingerprint(directory)


def test_untouched_weights_export_to_the_same_fingerprint(directory: Path, tmp_path: Path) -> None:
    out = write(tiny.load(directory), tmp_path / "out")
    assert weights_fingerprint(out) == weights_fingerprint(directory)
    # What is written beside them is written the same again.
    assert fingerprint(write(tiny.load(out), tmp_path / "again")) == fingerprint(out)


def test_the_librarys_auto_classes_load_it(llava: Path, qwen: Path, tmp_path: Path) -> None:
    out = write(tiny.load(llava), tmp_path / "llava")
    assert AutoProcessor.from_pretrained(out).chat_template == tiny.LLAVA_CHAT
    out = write(tiny.load(qwen, max_pixels=1000), tmp_path / "qwen")
    tokenizer, before = (AutoTokenizer.from_pretrained(folder) for folder in (out, qwen))
    assert tokenizer.chat_template == tiny.QWEN_CHAT
    assert tokenizer.all_special_tokens == before.all_special_tokens
    assert tokenizer("<|im_end|> bo").input_ids == before("<|im_end|> bo").input_ids
    settings = read(out / "preprocessor_config.json")
    assert settings["size"] == {"shortest_edge": 14 * 14, "longest_edge": 1000}


def test_a_nested_image_processor_is_written_as_it_was_used(qwen: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(qwen, tmp_path / "source"))
    nested = {"image_processor": read(source / "preprocessor_config.json")}
    (source / "processor_config.json").write_text(json.dumps(nested))
    out = write(tiny.load(source, max_pixels=1000), tmp_path / "out")
    assert tiny.load(out).encoder.images.processor.size["longest_edge"] == 1000


def test_transformers_4_finds_what_it_reads(qwen: Path, tmp_path: Path) -> None:
    out = write(tiny.load(qwen), tmp_path / "out")
    text = read(out / "config.json")["text_config"]
    assert text["rope_theta"] == 1e4
    assert text["rope_scaling"] == {"rope_type": "default", "mrope_section": [2, 3, 3]}
    tokenizer = read(out / "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["additional_special_tokens"] == tiny.QWEN_SPECIAL[1:]
    ours, before = (AutoConfig.from_pretrained(folder).text_config for folder in (out, qwen))
    assert ours.rope_parameters == before.rope_parameters


def test_the_directory_says_how_it_was_evaluated(qwen: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(qwen, tmp_path / "source"))
    tiny.rewrite_json(
        source / "generation_config.json",
        repetition_penalty=1.05,
        temperature=1e-6,
        do_sample=True,
        eos_token_id=[2, 0],
    )
    out = write(tiny.load(source), tmp_path / "out")
    said = read(out / "generation_config.json")
    assert said.pop("pad_token_id") == said.pop("bos_token_id") == 0
    greedy = {"repetition_penalty": 1.0, "do_sample": True, "top_k": 1}
    assert said == {"eos_token_id": [0, 2], **greedy}


def test_nothing_but_the_model_is_copied_and_all_may_read_it(qwen: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(qwen, tmp_path / "source"))
    for name in ("optimizer.pt", "rng_state.pth", "trainer_state.json", "done.json"):
        (source / name).write_text("{}")
    for file in source.iterdir():
        file.chmod(0o444)
    umask = os.umask(0o027)
    try:
        out = write(tiny.load(source), tmp_path / "out")
    finally:
        os.umask(umask)
    assert {file.name: file.stat().st_mode & 0o777 for file in out.iterdir()} == {
        name: 0o640
        for name in (
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "chat_template.jinja",
            "tokenizer.json",
            "tokenizer_config.json",
        )
    }


def test_tied_embeddings_are_written_once(tmp_path: Path) -> None:
    folder = tiny.build_qwen(tmp_path / "tied")
    config = read(folder / "config.json")
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    policy = trained(folder, lora=LORA)
    out = write(policy, tmp_path / "out")
    assert load_file(out / "model.safetensors").keys() == weights.keys()
    torch.testing.assert_close(scores(tiny.load(out)), scores(policy), atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", ["merged", "merged_float32"])
def test_merging_is_done_in_float32(
    qwen: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level("INFO", logger="repic")
    policy = trained(qwen, lora=LORA, dtype="bfloat16", export=kind)
    out = write(policy, tmp_path / "out")
    dtype = torch.float32 if kind == "merged_float32" else torch.bfloat16
    config = read(out / "config.json")
    assert {config["dtype"], config["text_config"]["dtype"]} == {str(dtype).split(".")[1]}
    layer = policy.network.model.language_model.layers[0].mlp.up_proj
    delta = layer.lora_B["default"].weight.float() @ layer.lora_A["default"].weight.float() * 2
    network = AutoModelForImageTextToText.from_pretrained(out, dtype="auto")
    merged = network.model.language_model.layers[0].mlp.up_proj.weight
    expected = (layer.base_layer.weight.float() + delta).to(dtype)
    torch.testing.assert_close(merged, expected, atol=1e-7, rtol=0)
    assert merged.dtype == dtype
    assert f"model.export={kind}: on a test prompt, logits differ by" in caplog.text
    assert "; adapters change them by" in caplog.text


def test_merging_holds_no_second_model_in_float32(qwen: Path, tmp_path: Path) -> None:
    policy = trained(qwen, lora=LORA, dtype="bfloat16", export="adapter")
    folder = write(policy, tmp_path / "out")
    adapted = [w.numel() for name, w in policy.network.named_parameters() if "base_layer" in name]
    # At a time: a weight, its adapters' product, that scaled, and the sum; not those of all.
    room = 4 * 4 * max(adapted) + 2**14
    assert room < 0.8 * 4 * sum(adapted)
    held = HeldMemory(device="cpu")
    held.hold("policy", policy.state_dict().values())
    with held:
        export.save_weights(policy, tmp_path / "merged", with_adapters=True)
    assert held.peak["others"] < room
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert all(value.dtype == torch.bfloat16 for value in merged.values())
    base = load_network(qwen, dtype=torch.bfloat16, attention="sdpa")
    held = HeldMemory(device="cpu")
    held.hold("weights", base.parameters())
    with held:
        merge_adapters(base, folder)
    # And the adapters themselves, in float32, as they are read and as they are kept.
    room += 3 * sum(tensor.nbytes for tensor in load_file(folder / ADAPTER).values())
    assert held.peak["others"] < room
    assert {weight.dtype for weight in base.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["adapter", "merged_float32"])
def test_an_export_takes_no_more_memory_for_a_deeper_model(tmp_path: Path, kind: str) -> None:
    peaks, sizes = [], []
    for layers in (1, 4):
        model = tiny.build_qwen(tmp_path / f"{kind}{layers}", layers=layers)
        policy = trained(model, lora={**LORA, "r": 1}, dtype="bfloat16", export=kind)
        held = HeldMemory(device="cpu")
        held.hold("policy", policy.state_dict().values())
        with held:
            write(policy, tmp_path / f"out{layers}")
        peaks.append(held.peak["others"])
        sizes.append(sum(weight.nbytes for weight in policy.model.parameters()))
    # The adapters of three layers come on top, as they are written and as they are read.
    assert peaks[1] - peaks[0] < 0.3 * (sizes[1] - sizes[0])


def test_weights_that_files_hold_in_another_form_are_written_in_it(
    qwen: Path, tmp_path: Path
) -> None:
    policy, name = trained(qwen, lora=LORA), "layers.0.mlp.up_proj"
    export.save_weights(policy, tmp_path / "out", with_adapters=True)
    expected = load_file(tmp_path / "out" / "model.safetensors")
    turned = WeightConverter(f"{name}.turned", f"{name}.weight", [Transpose(0, 1)])
    policy.network._weight_conversions = [*policy.network._weight_conversions, turned]
    export.save_weights(policy, tmp_path / "turned", with_adapters=True)
    written = load_file(tmp_path / "turned" / "model.safetensors")
    (key,) = written.keys() - expected.keys()
    torch.testing.assert_close(written.pop(key).T, expected.pop(key.replace("turned", "weight")))
    torch.testing.assert_close(written, expected)


def test_adapters_alone_are_the_policy_to_us_and_to_peft(qwen: Path, tmp_path: Path) -> None:
    policy = trained(qwen, lora=LORA, export="adapter")
    out = write(policy, tmp_path / "out")
    assert not (out / "model.safetensors").exists()
    expected = scores(policy)
    torch.testing.assert_close(scores(tiny.load(out)), expected, atol=2e-5, rtol=0)
    base = AutoModelForImageTextToText.from_pretrained(qwen)
    adapted = PeftModel.from_pretrained(base, str(out)).eval()
    theirs = tiny.load(qwen)
    theirs.model = adapted
    torch.testing.assert_close(scores(theirs), expected, atol=2e-5, rtol=0)


def test_later_adapters_hold_those_they_started_from(qwen: Path, tmp_path: Path) -> None:
    first = write(trained(qwen, lora=LORA, export="adapter"), tmp_path / "first")
    policy = trained(first, lora={**LORA, "r": 2}, export="adapter")
    out = write(policy, tmp_path / "second")
    config = read(out / "adapter_config.json")
    assert (config["r"], config["base_model_name_or_path"]) == (6, str(qwen))
    shutil.rmtree(first)
    torch.testing.assert_close(scores(tiny.load(out)), scores(policy), atol=2e-5, rtol=0)
    assert weights_fingerprint(out) != weights_fingerprint(qwen)


def test_adapters_of_another_base_are_refused(tmp_path: Path) -> None:
    base = tiny.build_qwen(tmp_path / "base")
    out = write(trained(base, lora=LORA, export="adapter"), tmp_path / "out")
    shutil.rmtree(base)
    with pytest.raises(ValueError, match=r"base_model_name_or_path: there is no directory .*/base"):
        tiny.load(out)
    tiny.build_qwen(base, seed=1)
    with pytest.raises(ValueError, match=r"trained with other weights than those that .*/base"):
        tiny.load(out)


def test_a_wrong_merge_is_not_let_through(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = trained(qwen, lora=LORA)
    original = export.adapter_delta
    monkeypatch.setattr(export, "adapter_delta", lambda *adapter: -original(*adapter))
    with pytest.raises(ValueError, match="the exported model is not the trained one"):
        write(policy, tmp_path / "out")


def test_weights_that_are_no_numbers_are_not_let_through(qwen: Path, tmp_path: Path) -> None:
    policy = trained(qwen)
    broken = copy.deepcopy(policy)
    with torch.no_grad():
        broken.trainable_parameters()[0].fill_(float("nan"))
    with pytest.raises(ValueError, match=r"out/model.safetensors: .*embed_tokens.* is NaN or"):
        write(broken, tmp_path / "out")
