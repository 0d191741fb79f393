"""Captions of another system, read from a file: the published form or our predictions.jsonl.

A small reader for metrics; ``repic.data.caption_files`` reads the same files for scoring, and
complains of more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic.files import Texts, as_shape, read_json, read_rows
from repic.metrics.captions.metric import CaptionKey

FORMS = '["image.jpg", ["<name>", ...], "caption", "prompt"] in .json, or predictions.jsonl'


@dataclass(frozen=True)
class _Prediction:
    images: Texts
    present: tuple[str, ...]
    prompt: str
    phase: str
    caption: str


@dataclass(frozen=True)
class _Published:
    image: str
    names: tuple[str, ...]
    caption: str


def read_baselines(file: Path) -> dict[str, dict[CaptionKey, str]]:
    """Return captions by what they are of, by system; a .json file holds one system.

    Raises:
        ValueError: the file cannot be read, or a row is not right; the message names it.
    """
    mend = "mend metrics.scorers.arena.baselines"
    if file.suffix == ".jsonl" and file.exists():
        rows = list(read_rows(file))
    else:
        table = as_shape(list[Any], read_json(file, mend=mend), str(file), need=f"rows {FORMS}")
        rows = [(f"{file}, row {number}", row) for number, row in enumerate(table, start=1)]
    if not rows:
        raise ValueError(f"{file}: is empty, need rows {FORMS}")
    systems: dict[str, dict[CaptionKey, str]] = {}
    for place, row in rows:
        system, key, caption = _caption(place, row)
        captions = systems.setdefault(f"{file} {system}".strip(), {})
        if key in captions:
            raise ValueError(f"{place}: a second caption of {key.image!r}; remove one")
        captions[key] = caption
    return systems


def _caption(place: str, row: object) -> tuple[str, CaptionKey, str]:
    if isinstance(row, dict):
        line = as_shape(_Prediction, row, place, need=FORMS)
        key = CaptionKey(line.images[-1], line.present, line.prompt)
        return line.phase, key, line.caption
    image, names, caption, prompt, *_ = [*as_shape(list[Any], row, place, need=FORMS), *[None] * 4]
    fields = {"image": image, "names": names, "caption": caption}
    found = as_shape(_Published, fields, place, need=FORMS)
    prompt = prompt if isinstance(prompt, str) else None
    return "", CaptionKey(found.image, found.names, prompt), found.caption
