"""Captions as a model writes them: portion by portion, each kept as soon as it is there."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from repic import distributed, files
from repic.progress import ProgressLine
from repic.types import Example

log = logging.getLogger(__name__)


class Caption(NamedTuple):
    """One written caption.

    ``finished`` is False when it was cut at the longest length; ``token_ids`` are the model's,
    with the end token, and none where no model wrote it.
    """

    text: str
    finished: bool
    token_ids: tuple[int, ...] = ()


Captioner = Callable[[Sequence[Example]], Sequence[Caption]]


def kept_captions(
    path: Path, examples: Sequence[Example], write: Captioner, *, portion: int, label: str
) -> list[Caption]:
    """Return one answer an example: those of an earlier run, and new ones for the others.

    A portion is kept as soon as it is written, so that an interrupted run goes on with the one
    that it was at; jobs that want the same file wait for each other.

    Args:
        path: the JSON Lines file of these examples, whoever asks for them.
        examples: all of them, in an order that stays.
        write: answers a portion.
        portion: examples that are answered together.
        label: what the progress line calls it.
    """
    is_main = distributed.rank() == 0
    with files.only_one(path.with_suffix(".lock"), wanted=is_main):
        answers = distributed.from_main(_read(path, examples, portion) if is_main else [])
        if len(answers) == len(examples):
            return answers
        if is_main:  # without what an interruption, or another version, has left behind
            files.write_lines(path, _rows(examples, answers))
        if answers:
            log.info("%s: %d of %d are there already", label, len(answers), len(examples))
        progress = ProgressLine(label, len(examples), {})
        if is_main:
            progress.start(len(answers))
        try:
            for first in range(len(answers), len(examples), portion):
                batch = examples[first : first + portion]
                written = list(write(batch))
                answers += written
                if is_main:
                    for row in _rows(batch, written):
                        files.append_line(path, row)
                    progress.update({}, len(answers))
        finally:
            progress.stop()
    return answers


def _rows(examples: Sequence[Example], answers: Sequence[Caption]) -> list[dict[str, object]]:
    """Rows of the file; of the first examples alone where there are fewer answers."""
    return [
        {"id": example.id, **answer._asdict()}
        for example, answer in zip(examples, answers, strict=False)
    ]


def _read(path: Path, examples: Sequence[Example], portion: int) -> list[Caption]:
    """Answers kept of the first examples, in whole portions; none if they are of other ones."""
    # Captions that were kept without their tokens are written anew.
    rows = [row for row in files.read_lines(path) if "token_ids" in row]
    if [row["id"] for row in rows] != [example.id for example in examples[: len(rows)]]:
        return []
    if len(rows) < len(examples):
        rows = rows[: len(rows) // portion * portion]
    return [Caption(row["text"], row["finished"], tuple(row["token_ids"])) for row in rows]
