"""Read caption files: the published JSON form, and our predictions.jsonl.

The published form (https://github.com/oyt9306/RePIC, captioning/) is a list of rows
``[image, ["<name>", ...], caption, prompt]``; the prompt may be left out.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repic.files import Texts, as_shape, read_json, read_rows, shown
from repic.metrics.names import LONGEST
from repic.metrics.rescoring import CaptionRecord
from repic.types import Prediction

log = logging.getLogger(__name__)

NO_FILE = "need a file or folder of captions"
FORM = '["image.jpg", ["<name>", ...], "caption", "prompt"]'


@dataclass(frozen=True)
class _Row:
    """The first fields of a published row."""

    image: str
    names: Texts
    caption: str


@dataclass(frozen=True)
class CaptionSet:
    """Captions that are scored together: a file's, or one phase's of a number of concepts."""

    label: str
    records: tuple[CaptionRecord, ...]


def read_predictions(folder: Path) -> list[Prediction]:
    """Read the ``predictions.jsonl`` that a run has left; empty if the run wrote no captions."""
    return [prediction for _, prediction in _read_predictions(folder / "predictions.jsonl")]


def read_caption_sets(path: Path) -> list[CaptionSet]:
    """Read a caption file, or every one under a folder.

    Under a folder, these are the files called predictions.jsonl and the .json files that hold a
    list; a file that is named must be one.

    Raises:
        ValueError: there are none, or one is malformed; the message names file, row and key.
    """
    if not path.is_dir():
        return read_caption_file(path, path.name)
    sets = []
    for file in sorted([*path.rglob("*.jsonl"), *path.rglob("*.json")]):
        if file.suffix == ".jsonl" and file.name != "predictions.jsonl":
            if file.name != "metrics.jsonl":  # every run has one
                log.info("passed over, as it is not called predictions.jsonl: %s", file)
            continue
        if file.suffix == ".json" and not isinstance(read_json(file), list):
            log.info("passed over, as it holds no list of captions: %s", file)
            continue
        sets += read_caption_file(file, str(file.relative_to(path)))
    if not sets:
        raise ValueError(f"{path}: holds no caption file (predictions.jsonl, or .json with a list)")
    return sets


def read_system(path: Path, system: str | None, key: str) -> list[CaptionRecord]:
    """Read one system's captions from a file, or from a folder of them.

    Args:
        path: see ``read_caption_sets``.
        system: whose, where a predictions.jsonl holds several: base, sft, grpo, ...
        key: of the setting that says so, for complaints.

    Raises:
        ValueError: there are captions of several systems, or none of the one that is wanted.
    """
    records = [record for found in read_caption_sets(path) for record in found.records]
    systems = dict.fromkeys(record.system for record in records if record.system is not None)
    options = ", ".join(systems) or "captions without a system's name"
    if system is None and len(systems) > 1:
        raise ValueError(f"{key}: {path} holds captions of {options}; choose one: {key}=<name>")
    if system is not None:
        records = [record for record in records if record.system == system]
    if not records:
        raise ValueError(f"{key}: {system!r} is not in {path}, which holds {options}")
    return records


def read_caption_file(file: Path, label: str) -> list[CaptionSet]:
    """Read one file; ``label`` is what tables call it."""
    sets = _predictions(file, label) if file.suffix == ".jsonl" else [_published(file, label)]
    if not any(found.records for found in sets):
        raise ValueError(f"{file}: is empty; it needs a caption or more, each {FORM}")
    for found in sets:
        _check_references(found)
    return sets


def with_references(found: CaptionSet, references: Mapping[str, Sequence[str]]) -> CaptionSet:
    """Give every caption the references of its image.

    Raises:
        ValueError: an image has none.
    """
    lacking = [record for record in found.records if record.image not in references]
    if lacking:
        raise ValueError(
            f"{lacking[0].place}: no references for image {lacking[0].image!r} ({len(lacking)} of"
            f" {len(found.records)} captions lack them); add them, or score without references"
        )
    records = (replace(r, references=tuple(references[r.image])) for r in found.records)
    return CaptionSet(found.label, tuple(records))


def read_references(file: Path) -> dict[str, tuple[str, ...]]:
    """Read reference captions: a JSON object ``{"image.jpg": ["caption", ...], ...}``."""
    form = '{"image.jpg": ["caption", ...]}'
    table = as_shape(dict[str, tuple[str, ...]], read_json(file), str(file), need=form)
    for image, captions in table.items():
        if not _has_words(captions):
            raise ValueError(f"{file}, key {image!r}: is {shown(captions)}, need captions")
    return table


def _published(file: Path, label: str) -> CaptionSet:
    rows = read_json(file, mend=NO_FILE)
    if not isinstance(rows, list):
        raise ValueError(f"{file}: needs a list of rows {FORM}, not {shown(rows)}")
    records, first_place = [], {}
    for number, row in enumerate(rows, start=1):
        place = f"{file}, row {number}"
        record = _record(place, row)
        prompt = json.dumps(row[3:4] or row[2])  # without prompts the captions must differ
        _refuse_twice(first_place, (record.image, record.targets, prompt), place)
        records.append(record)
    longest = max(map(len, rows), default=0)
    if longest > 4:
        log.warning("%s: rows have up to %d fields; those after the fourth are not read",
                    file, longest)  # fmt: skip
    return CaptionSet(label, tuple(records))


def _record(place: str, row: Any) -> CaptionRecord:
    if not isinstance(row, list):
        raise ValueError(f"{place}: is {shown(row)}, need {FORM}")
    fields = dict(zip(("image", "names", "caption"), row, strict=False))
    found = as_shape(_Row, fields, place, need=FORM)
    image, names = found.image, found.names
    if not image.strip():
        raise ValueError(f"{place}: 'image' is empty, need the picture's file name")
    if not all(name.strip("<> ") for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{place}: 'names' are {shown(names)}, need such as <bo>, each once")
    prompt = row[3] if len(row) > 3 else None
    if not isinstance(prompt, str | None):
        raise ValueError(f"{place}: the prompt is {shown(prompt)}, need text; {FORM}")
    return CaptionRecord(place, image, names, found.caption, prompt=prompt)


def _read_predictions(file: Path) -> Iterator[tuple[str, Prediction]]:
    """Yield predictions, each with its place (file and line) for complaints."""
    for place, row in read_rows(file):
        found = as_shape(Prediction, row, place, is_closed=True)
        if longest := max((*found.pool, *found.present, ""), key=len)[LONGEST:]:
            raise ValueError(f"{place}: a name of {len(longest) + LONGEST} letters; mend it")
        for key, value in found.rewards.items():
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{place}: rewards.{key} is {value}; write null for no value")
        yield place, found


def _predictions(file: Path, label: str) -> list[CaptionSet]:
    groups: dict[tuple[str, int], list[CaptionRecord]] = {}
    first_place: dict[Any, str] = {}
    if not file.exists():
        raise ValueError(f"{file}: no such file; {NO_FILE}")
    for place, p in _read_predictions(file):
        _refuse_twice(first_place, (p.phase, p.id), place)
        if not p.images:
            raise ValueError(f"{place}: 'images' is empty, need the picture that is captioned")
        if unknown := set(p.present) - set(p.pool):
            raise ValueError(
                f"{place}: 'present' holds {min(unknown)!r}, which is not in 'pool'; mend one"
            )
        record = CaptionRecord(
            place,
            p.images[-1],
            p.present,
            p.caption,
            p.pool,
            p.answers,
            p.infos,
            p.prompt,
            p.phase,
        )
        groups.setdefault((p.phase, p.num_concepts), []).append(record)
    return [
        CaptionSet(f"{label} · {phase} · {number}", tuple(records))
        for (phase, number), records in groups.items()
    ]


def _check_references(found: CaptionSet) -> None:
    have = [_has_words(record.references) for record in found.records]
    if any(have) and not all(have):
        place = found.records[have.index(False)].place
        raise ValueError(
            f"{place}: 'answers' has no reference caption, but other rows of {found.label} have"
            f" ({have.count(False)} of {len(have)} lack them); CIDEr needs all or none"
        )


def _refuse_twice(first_place: dict[Any, str], key: Any, place: str) -> None:
    before = first_place.setdefault(key, place)
    if before != place:
        raise ValueError(f"{place}: the same as {before} ({key[0]}); remove one of them")


def _has_words(texts: Sequence[str]) -> bool:
    return any(character.isalnum() for text in texts for character in text)
