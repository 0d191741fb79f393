"""Captions of another system, read from a file: the published form or our predictions.jsonl.

A small reader for metrics; ``repic.data.caption_files`` reads the same files for scoring, and
complains of more.
"""

import json
from pathlib import Path
from typing import Any

from repic.metrics.captions.metric import CaptionKey

FORMS = '["image.jpg", ["<name>", ...], "caption", "prompt"] in .json, or predictions.jsonl'


def read_baselines(file: Path) -> dict[str, dict[CaptionKey, str]]:
    """Return captions by what they are of, by system; a .json file holds one system.

    Raises:
        ValueError: the file cannot be read, or a row is not right; the message names it.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        rows = _lines(text) if file.suffix == ".jsonl" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"metrics.scorers.arena.baselines: {file}: {error}") from None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"metrics.scorers.arena.baselines: {file}: needs rows {FORMS}")
    systems: dict[str, dict[CaptionKey, str]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            system, key, caption = _prediction(row) if isinstance(row, dict) else _published(row)
        except (TypeError, ValueError, KeyError, IndexError):
            raise ValueError(f"{file}, row {number}: need {FORMS}") from None
        captions = systems.setdefault(f"{file} {system}".strip(), {})
        if key in captions:
            raise ValueError(f"{file}, row {number}: a second caption of {key.image!r}; remove one")
        captions[key] = caption
    return systems


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _prediction(row: dict[str, Any]) -> tuple[str, CaptionKey, str]:
    key = CaptionKey(_text(row["images"][-1]), _texts(row["present"]), _text(row["prompt"]))
    return _text(row["phase"]), key, _text(row["caption"])


def _published(row: list[Any]) -> tuple[str, CaptionKey, str]:
    image, names, caption, *rest = row
    prompt = rest[0] if rest and isinstance(rest[0], str) else None
    return "", CaptionKey(_text(image), _texts(names), prompt), _text(caption)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(values)
    return tuple(map(_text, values))
