"""What a saved run was told: its ``config.yaml``, read as plain values."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

FILE = "config.yaml"

_NOT_THERE = object()
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def configured(folder: Path, keys: Sequence[str]) -> dict[str, str]:
    """Values of a run's configuration by dotted key, as the command line writes them.

    Left out are keys that are not there, or stand for a whole branch; all of them in runs that
    kept no such file, or one that cannot be read: a table goes by what commands said, then.
    """
    path = folder / FILE
    if not keys or not path.is_file():
        return {}
    try:
        tree = read_config(path)
    except ValueError:
        return {}
    found: dict[str, str] = {}
    for key in keys:
        node: Any = tree
        for part in key.split("."):
            node = node.get(part, _NOT_THERE) if isinstance(node, Mapping) else _NOT_THERE
        if node is not _NOT_THERE and not isinstance(node, Mapping):
            found[key] = _as_override(node)
    return found


def read_config(path: Path) -> Any:
    """Parse a run's configuration, each version of a file once.

    Raises:
        ValueError: it is not YAML, or not UTF-8.
    """
    return _read_config(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _read_config(path: Path, _version: int) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not YAML ({reason}); mend it or leave the run out") from error


def _as_override(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_as_override, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
