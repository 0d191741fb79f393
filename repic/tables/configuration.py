"""What a saved run was told: its ``config.yaml``, read as plain values."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

FILE = "config.yaml"  # in a run's folder

_NOT_THERE = object()
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def configured(folder: Path, keys: Sequence[str]) -> dict[str, str]:
    """Values of a run's configuration by dotted key, as the command line writes them.

    Left out are keys that are not there, or stand for a whole branch; all of them in runs that
    kept no configuration, or one that cannot be read: a table goes by what commands said, then.
    """
    if not keys:
        return {}
    try:
        tree = config_of(folder)
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


def config_of(folder: Path) -> Mapping[Any, Any] | None:
    """A run's configuration, each version of its file parsed once; None if it kept none.

    Raises:
        ValueError: the file is not YAML in UTF-8, or holds no mapping.
    """
    path = folder / FILE
    return _parse(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=1024)
def _parse(path: Path, _version: int) -> Mapping[Any, Any]:
    mend = "mend the file, or remove it"
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())}); {mend}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: holds no settings; {mend}")
    return found


def _as_override(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_as_override, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
