"""Where a model's files are, whether they are complete, and what their weights hash to."""

import hashlib
import json
import mmap
from importlib.resources import files
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

_PACKAGE = "package://"
_PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.txt", "*.model"]
_INDEX = "model.safetensors.index.json"


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


def fingerprint(path: str | Path) -> str:
    """Hash the weights of a model: names, shapes, precisions and values, however sharded."""
    digest = hashlib.sha256()
    found = {
        name: (file, start, entry)
        for file in _weight_files(find_model(path))
        for start, header in [_header(file)]
        for name, entry in header.items()
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
        reason = f"is no directory here, and the hub answers: {str(error).splitlines()[0]}"
    raise ValueError(
        f"{key}: {name} {reason}; download the model on a machine that can, and set {key} to its"
        " folder"
    )


def _check(folder: Path) -> None:
    """Refuse a directory that lacks a file, naming the file."""
    if not (folder / "config.json").is_file():
        if inside := sorted(file.parent for file in folder.glob("checkpoints/*/config.json")):
            raise ValueError(
                f"{folder}: is a run's folder; its models are {', '.join(map(str, inside))}"
            )
        raise ValueError(f"{folder}: config.json is missing; this is not a model's directory")
    if not _weight_files(folder):
        raise ValueError(f"{folder}: there are no weights (*.safetensors)")
    for group in (
        ("tokenizer.json", "vocab.json", "tokenizer.model"),
        ("preprocessor_config.json", "processor_config.json"),
    ):
        if not any((folder / name).is_file() for name in group):
            raise ValueError(f"{folder}: {' or '.join(group)} is missing; copy it from the hub")
    for file in _weight_files(folder):
        if not file.is_file():
            raise ValueError(f"{folder}: {file.name} is missing, though {_INDEX} lists it")
        _header(file)


def _weight_files(folder: Path) -> list[Path]:
    """List the files that hold weights, as the index says or as they lie there."""
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    return sorted(folder.glob("model*.safetensors"))


def _header(file: Path) -> tuple[int, dict[str, dict]]:
    """Read where a safetensors file's data begins, and what each tensor is."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        text = opened.read(start - 8) if start <= size else b""
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        end = start + max(entry["data_offsets"][1] for entry in header.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        end = -1
    if end != size:
        raise ValueError(f"{file} is damaged or cut short; copy it again")
    return start, header
