import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from repic.models import directory as module
from repic.models.directory import find_model, fingerprint
from tests import tiny


@pytest.fixture
def copy(qwen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen, tmp_path / "model"))


def shard(folder: Path) -> None:
    """Split the weights in two files, as large models come."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    index = {}
    for part, chosen in enumerate((names[::2], names[1::2])):
        file = f"model-0000{part + 1}-of-00002.safetensors"
        save_file({name: weights[name] for name in chosen}, folder / file, {"format": "pt"})
        index.update(dict.fromkeys(chosen, file))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    (folder / "model.safetensors").unlink()


def test_a_directory_is_found_as_it_is(qwen: Path) -> None:
    assert find_model(qwen) == qwen
    assert find_model(str(qwen)) == qwen


def test_package_data_is_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "files", lambda package: copy.parent / package)
    moved = copy.rename(copy.parent / "inside")
    (copy.parent / "shipped").mkdir()
    moved.rename(copy.parent / "shipped" / "inside")
    assert find_model("package://shipped/inside") == copy.parent / "shipped" / "inside"
    with pytest.raises(ValueError, match=r"no directory .*shipped/elsewhere"):
        find_model("package://shipped/elsewhere")


@pytest.mark.parametrize("path", ["/nowhere/model", "./model", "model", "a/b/c"])
def test_a_missing_directory_is_named(path: str) -> None:
    with pytest.raises(ValueError, match=r"model.path: there is no directory .*(model|a/b/c)$"):
        find_model(path)


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, **_: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(module, "snapshot_download", offline)
    with pytest.raises(ValueError, match=r"some/model .* cannot be reached; download the model"):
        find_model("some/model")


def test_a_hub_id_is_downloaded(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, **_: object) -> str:
        asked.append(name)
        return str(qwen)

    monkeypatch.setattr(module, "snapshot_download", download)
    assert find_model("some/model") == qwen
    assert asked == ["some/model"]


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        "preprocessor_config.json",
    ],
)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    said = "safetensors" if name.endswith("safetensors") else name
    with pytest.raises(ValueError, match=rf"{copy}: .*{said}"):
        find_model(copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    shard(copy)
    assert find_model(copy) == copy
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model-00002-of-00002.safetensors is missing"):
        find_model(copy)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{}", "the key 'metadata' is missing"),
        ("[]", r"is \[\], need a JSON object"),
        ('{"metadata": {}, "weight_map": []}', r"key 'weight_map': is \[\], need a JSON object"),
        ('{"metadata": {}, "weight_map": {"a": 3}}', r"key 'weight_map.a': is 3, need text"),
        ('{"metadata": {}, "weight_map": {"a": "../b"}}', r'"../b" is no file\'s name'),
        ('{"metadata": {}, "weight_map": {}}', "there are no weights"),
    ],
)
def test_an_index_that_is_none_is_named(copy: Path, index: str, said: str) -> None:
    shard(copy)
    (copy / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=said):
        find_model(copy)


def test_weights_that_could_be_read_in_two_ways_are_refused(copy: Path) -> None:
    """The library would load others than are hashed."""
    tiny.rewrite_json(copy / "config.json", transformers_weights="model-x.safetensors")
    with pytest.raises(ValueError, match=r"config.json: transformers_weights names another file"):
        find_model(copy)
    config = json.loads((copy / "config.json").read_text())
    del config["transformers_weights"]
    (copy / "config.json").write_text(json.dumps(config))
    other = copy / "shard-00001-model-00001-of-00001.safetensors"
    other.touch()
    with pytest.raises(ValueError, match=r"shard-00001-model-00001-of-00001.safetensors is of a"):
        find_model(copy)
    other.unlink()
    shard(copy)
    first, second = sorted(copy.glob("model-*.safetensors"))
    doubled = {**load_file(second), "lm_head.weight": load_file(first)["lm_head.weight"] + 1}
    save_file(doubled, second, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lm_head.weight is in model-00001-of-00002.safetensors"):
        find_model(copy)


@pytest.mark.parametrize(
    "change", [{"dtype": "XX"}, {"shape": [3, 3]}, {"data_offsets": [-8, 0]}, {"data_offsets": ""}]
)
def test_a_header_that_is_none_is_named(copy: Path, change: dict) -> None:
    file = copy / "model.safetensors"
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["lm_head.weight"] |= change
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[start:])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged or cut short"):
        find_model(copy)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_file_cut_short_is_named(copy: Path, size: int) -> None:
    file = copy / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged or cut short"):
        find_model(copy)


def test_the_fingerprint_is_of_what_is_loaded_alone(copy: Path) -> None:
    before = fingerprint(copy)
    assert before == fingerprint(copy)
    assert len(before) == 64
    (copy / "README.md").write_text("words")
    (copy / "optimizer.pt").touch()
    shard(copy)
    assert fingerprint(copy) == before


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype"])
def test_the_fingerprint_notices_every_change(copy: Path, change: str) -> None:
    file = copy / "model.safetensors"
    weights = load_file(file)
    before = fingerprint(copy)
    head = weights.pop("lm_head.weight")
    changed = {
        "value": ("lm_head.weight", head + torch.eye(*head.shape) * 1e-6),
        "name": ("lm_head2.weight", head),
        "shape": ("lm_head.weight", head.reshape(-1)),
        "dtype": ("lm_head.weight", head.view(torch.int32)),
    }
    name, value = changed[change]
    save_file({**weights, name: value}, file, {"format": "pt"})
    assert fingerprint(copy) != before


@pytest.mark.parametrize(
    "name",
    ["tokenizer.json", "chat_template.jinja", "preprocessor_config.json", "generation_config.json"],
)
def test_the_fingerprint_is_of_all_that_a_model_reads_by(copy: Path, name: str) -> None:
    before = fingerprint(copy)
    content = (copy / name).read_bytes() if (copy / name).exists() else b""
    (copy / name).write_bytes(content + b" ")
    assert fingerprint(copy) != before


def test_the_fingerprint_is_of_the_weights_that_the_library_prefers(copy: Path) -> None:
    before = fingerprint(copy)
    whole = (copy / "model.safetensors").read_bytes()
    shard(copy)
    (copy / "model-00001-of-00002.safetensors").write_bytes(b"not looked at")
    (copy / "model.safetensors").write_bytes(whole)
    assert fingerprint(copy) == before
    (copy / "model.safetensors").rename(copy / "model-x.safetensors")
    (copy / "model.safetensors.index.json").unlink()
    (copy / "pytorch_model.bin").touch()
    said = r"there are no weights \(model.safetensors, or .* pytorch_model.bin is not read: save"
    with pytest.raises(ValueError, match=said):
        find_model(copy)
