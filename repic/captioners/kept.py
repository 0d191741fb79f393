"""Captions as they are written: portion by portion, each kept as soon as it is there."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from repic import distributed, files
from repic.captioners.captioner import Caption
from repic.progress import ProgressLine
from repic.types import Example

log = logging.getLogger(__name__)


def kept_captions(
    path: Path,
    examples: Sequence[Example],
    write: Callable[[Sequence[Example]], Sequence[Caption]],
    *,
    portion: int,
    label: str,
) -> list[Caption]:
    """Return one caption an example: those of an earlier run, and new ones for the others.

    A portion is kept as soon as it is written, so that an interrupted run goes on with the one
    that it was at; jobs that want the same file wait for each other.

    Args:
        path: the JSON Lines file of these examples, whoever asks for them.
        examples: all of them, in an order that stays.
        write: writes a portion; a captioner's ``write`` or ``answer``.
        portion: examples that are captioned together.
        label: what the progress line calls it.
    """
    is_main = distributed.rank() == 0
    with files.only_one(path.with_suffix(".lock"), wanted=is_main):
        captions = distributed.from_main(_read(path, examples, portion) if is_main else [])
        if len(captions) == len(examples):
            return captions
        if is_main:  # without what an interruption, or another version, has left behind
            files.write_lines(path, _rows(examples, captions))
        if captions:
            log.info("%s: %d of %d are there already", label, len(captions), len(examples))
        progress = ProgressLine(label, len(examples), {})
        if is_main:
            progress.start(len(captions))
        try:
            for first in range(len(captions), len(examples), portion):
                batch = examples[first : first + portion]
                written = list(write(batch))
                captions += written
                if is_main:
                    for row in _rows(batch, written):
                        files.append_line(path, row)
                    progress.update({}, len(captions))
        finally:
            progress.stop()
    return captions


def _rows(examples: Sequence[Example], captions: Sequence[Caption]) -> list[dict[str, object]]:
    """Rows of the file; of the first examples alone where there are fewer captions."""
    return [
        {"id": example.id, **caption._asdict()}
        for example, caption in zip(examples, captions, strict=False)
    ]


def _read(path: Path, examples: Sequence[Example], portion: int) -> list[Caption]:
    """Captions kept of the first examples, in whole portions; none if they are of other ones."""
    try:
        rows = [
            files.as_shape(_Row, row, place)
            for place, row in files.read_rows(path, may_be_cut=True)
        ]
    except ValueError as error:  # nothing is lost but time
        log.warning("%s; the captions are written anew", error)
        return []
    if [row.id for row in rows] != [example.id for example in examples[: len(rows)]]:
        return []
    if len(rows) < len(examples):
        rows = rows[: len(rows) // portion * portion]
    return [Caption(row.text, row.finished, row.token_ids) for row in rows]


@dataclass(frozen=True)
class _Row:
    """A line of the file."""

    id: str
    text: str
    finished: bool
    token_ids: tuple[int, ...]
