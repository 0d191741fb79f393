"""Where a model's files are, whether they are complete, and what they hash to."""

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from repic.errors import first_line
from repic.files import as_shape, hash_file, read_json, refuse_large, shown

_PACKAGE = "package://"
_LONGEST_FILE = 1 << 28  # bytes of what lies beside weights; the largest tokenizers have 35 million
# What a model is made as large as -> the most that any model has of it.
_MOST = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "depth"), 10_000),
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size"), 1 << 24),
}
_PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.txt", "*.model"]
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_DISTRIBUTED = "shard-*-model-*.safetensors"  # the library would load these, whatever else is there
_FLOATS = ("F64", "F32", "F16", "BF16")
_LONGEST_HEADER = 100_000_000  # bytes, as the library has it
# What lies beside weights and decides what a model reads and writes. Nothing else is copied from
# a model's directory, which may be a trainer's checkpoint with gigabytes of optimizer state.
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def find_model(path: str | Path, *, key: str = "model.path") -> Path:
    """Return the directory of a model.

    Args:
        path: a directory; ``package://<package>/<folder>`` for one that is shipped with a Python
            package; or else an id on the Hugging Face hub, which is downloaded once.
        key: the configuration's, for messages.
    """
    folder = _folder(path)
    if is_on_hub(path):
        folder = _download(str(path), key)
    elif not folder.is_dir():
        raise ValueError(f"{key}: there is no directory {folder}")
    _check(folder)
    return folder


def is_on_hub(path: str | Path) -> bool:
    """Whether a model's path is an id on the hub, because it looks like one and is no directory."""
    folder, name = _folder(path), str(path)
    is_local = folder.is_dir() or folder.is_absolute() or name.startswith((".", _PACKAGE))
    return not is_local and name.count("/") == 1


def _folder(path: str | Path) -> Path:
    name = str(path)
    if not name.startswith(_PACKAGE):
        return Path(path).expanduser()
    package, _, inside = name.removeprefix(_PACKAGE).partition("/")
    return Path(str(files(package))) / inside


def is_adapter(folder: Path) -> bool:
    """Whether a directory holds adapters alone, to be added to the model that it names."""
    return (folder / ADAPTER_CONFIG).is_file()


def find_base(folder: Path) -> Path:
    """Return the directory of the weights that adapters belong to; see ``is_adapter``.

    Raises:
        ValueError: it is gone, or its weights are others than those that were trained with.
    """
    name = read_config(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{folder}/{ADAPTER_CONFIG}: base_model_name_or_path is missing")
    base = find_model(name, key=f"{folder}/{ADAPTER_CONFIG}: base_model_name_or_path")
    if is_adapter(base):
        raise ValueError(f"{folder}: its base, {base}, holds adapters itself; merge those first")
    trained_with = read_header(folder / ADAPTER).metadata.get("base")
    if trained_with not in (None, weights_fingerprint(base)):
        raise ValueError(
            f"{folder}: its adapters were trained with other weights than those that {base} holds"
            " now; put those back, or train again"
        )
    return base


def fingerprint(path: str | Path) -> str:
    """Hash all that a model computes with: weights, tokenizer, template, processors, configs."""
    folder = find_model(path)
    digest = hashlib.sha256(weights_fingerprint(folder).encode())
    read = [folder / name for name in SIDE_FILES]
    if is_adapter(folder):  # the network is made as its base says
        read += [find_base(folder) / name for name in ("config.json", "generation_config.json")]
    for file in read:
        if file.is_file():
            digest.update(f"{file.name} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def weights_fingerprint(folder: Path) -> str:
    """Hash the weights alone: names, shapes, precisions and values, however sharded.

    Adapters count with their own configuration and with the weights that they are added to.
    """
    digest = hashlib.sha256()
    files = _weight_files(folder)
    if is_adapter(folder):
        base = read_header(folder / ADAPTER).metadata.get("base")
        digest.update((base or weights_fingerprint(find_base(folder))).encode())
        digest.update((folder / ADAPTER_CONFIG).read_bytes())
    found = {
        name: (file, header.start, entry)
        for file in files
        for header in [read_header(file)]
        for name, entry in header.tensors.items()
    }
    for name in sorted(found):
        file, start, entry = found[name]
        first, last = entry["data_offsets"]
        digest.update(f"{name} {entry['dtype']} {entry['shape']}\n".encode())
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as data:
            digest.update(memoryview(data)[start + first : start + last])
    return digest.hexdigest()


def _download(name: str, key: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS))
    except LocalEntryNotFoundError:
        reason = "is no directory here, and the Hugging Face hub cannot be reached"
    except HfHubHTTPError as error:
        reason = f"is no directory here, and the hub answers: {first_line(error)}"
    raise ValueError(
        f"{key}: {name} {reason}; download the model on a machine that can, and set {key} to its"
        " folder"
    )


def refuse_integers(folder: Path, model: Any) -> None:
    """Raise for weights that are no floating-point numbers, which the library would convert.

    Buffers may be integers, also those that only older releases saved. What a quantized model's
    numbers mean, its own code knows.
    """
    if "quantization_config" in read_config(folder / "config.json") and not is_adapter(folder):
        return
    integers = [name for name, value in model.named_buffers() if not value.is_floating_point()]
    buffers = {name.rpartition(".")[2] for name in integers}
    for file in _weight_files(folder):
        for name, entry in read_header(file).tensors.items():
            if entry["dtype"] not in _FLOATS and name.rpartition(".")[2] not in buffers:
                raise ValueError(
                    f"{file}: {name} has numbers of type {entry['dtype']}, and weights are"
                    f" {', '.join(_FLOATS)}; convert the model"
                )


def _check(folder: Path) -> None:
    """Refuse a directory that lacks a file, naming the file."""
    if not (folder / "config.json").is_file():
        if inside := sorted(file.parent for file in folder.glob("checkpoints/*/config.json")):
            raise ValueError(
                f"{folder}: is a run's folder; its models are {', '.join(map(str, inside))}"
            )
        raise ValueError(f"{folder}: config.json is missing; this is not a model's directory")
    for group in (
        ("tokenizer.json", "vocab.json", "tokenizer.model"),
        ("tokenizer_config.json",),  # without it the library chooses what ends a turn
        ("preprocessor_config.json", "processor_config.json"),
    ):
        if not any((folder / name).is_file() for name in group):
            raise ValueError(f"{folder}: {' or '.join(group)} is missing; copy it from the hub")
    for file in (folder / name for name in SIDE_FILES):
        if file.is_file():
            refuse_large(file, _LONGEST_FILE)
    _check_sizes(f"{folder}/config.json", read_config(folder / "config.json"))
    _check_weights(folder)


def _check_sizes(place: str, config: Mapping[str, Any]) -> None:
    """Refuse a network that no memory would hold, before it is laid out."""
    for key, value in config.items():
        if isinstance(value, dict):
            _check_sizes(place, value)
        elif key in _MOST and isinstance(value, int) and value > _MOST[key]:
            raise ValueError(f"{place}: {key} is {shown(value)}, and may be {_MOST[key]} at most")


def _check_weights(folder: Path) -> None:
    """Refuse weights that are not there, are damaged, or could be read in two ways."""
    if not is_adapter(folder) and "transformers_weights" in read_config(folder / "config.json"):
        raise ValueError(
            f"{folder}/config.json: transformers_weights names another file of weights; call that"
            f" {_WEIGHTS}, and remove the key"
        )
    if shards := sorted(file.name for file in folder.glob(_DISTRIBUTED)):
        raise ValueError(
            f"{folder}: {shards[0]} is of a distributed checkpoint; gather it in {_WEIGHTS}"
        )
    files = _weight_files(folder)
    if not files:
        pickled = sorted(file.name for file in folder.glob("*.bin"))
        mend = f"; {pickled[0]} is not read: save the model as safetensors" if pickled else ""
        raise ValueError(
            f"{folder}: there are no weights ({_WEIGHTS}, or the files that {_INDEX} lists){mend}"
        )
    holders: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            listing = ADAPTER_CONFIG if is_adapter(folder) else _INDEX
            raise ValueError(f"{folder}: {file.name} is missing, though {listing} asks for it")
        for name in read_header(file).tensors:
            if name in holders:
                raise ValueError(f"{file}: {name} is in {holders[name].name} as well; remove one")
            holders[name] = file


def _weight_files(folder: Path) -> list[Path]:
    """List the files that weights are read from: what the library prefers, where there are more."""
    if is_adapter(folder):
        return [folder / ADAPTER]
    if (folder / _INDEX).is_file() and not (folder / _WEIGHTS).is_file():
        index = as_shape(_Index, read_json(folder / _INDEX), str(folder / _INDEX))
        names = sorted(set(index.weight_map.values()))
        if outside := [name for name in names if Path(name).name != name]:
            raise ValueError(f"{folder / _INDEX}: {shown(outside[0])} is no file's name; mend it")
        return [folder / name for name in names]
    return [folder / _WEIGHTS] if (folder / _WEIGHTS).is_file() else []


@dataclass(frozen=True)
class _Index:
    """What an index of sharded weights says, as far as it is read."""

    metadata: dict[str, Any]
    weight_map: dict[str, str]


def read_config(file: Path) -> dict[str, Any]:
    """Read one of a directory's JSON files; empty where there is none."""
    return as_shape(dict[str, Any], read_json(file), str(file)) if file.is_file() else {}


class Header(NamedTuple):
    """What a safetensors file says of itself: where data begin, what each tensor is, and notes."""

    start: int
    tensors: dict[str, dict[str, Any]]
    metadata: dict[str, str]


def read_header(file: Path) -> Header:
    """Read a safetensors file's header; refuse a file that is damaged."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        text = opened.read(start - 8) if start <= min(size, _LONGEST_HEADER) else b""
    try:
        tensors = json.loads(text)
        with safe_open(file, "pt"):  # it looks at types, shapes and gaps
            pass
        metadata = tensors.pop("__metadata__", {})
        end = start + max(entry["data_offsets"][1] for entry in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError):
        end = -1
    if end != size:
        raise ValueError(f"{file} is damaged or cut short; copy it again")
    return Header(start, tensors, metadata)
