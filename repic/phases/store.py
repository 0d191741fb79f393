"""Files that survive interruptions: whole or absent, never half; and stages that jobs share."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

DONE = "done.json"
FULL = 1 << 20  # bytes free at which a failed write is put down to the disk


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path`` and put it in place once it is complete.

    A full disk leaves the earlier file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with disk_errors(path):
            write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say that the disk is full when a library reports it in its own words."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # torch raises RuntimeError here, safetensors its own
        if "No space left" in str(error) or shutil.disk_usage(path.parent).free < FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write JSON for people: indented, keys in the given order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a folder and put it in place of ``path`` once it is complete."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with disk_errors(path):
        write(part)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(part, path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file; a last line that an interruption cut short is left out."""
    if not path.exists():
        return []
    # Not splitlines(), which also cuts at U+2028 inside a caption.
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if lines == [""]:
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(
                    f"{path}, line {number}: not JSON; delete the line or the file"
                ) from None
    return rows


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a JSON Lines file, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_line(path: Path, row: Mapping[str, object]) -> None:
    """Add one row to a JSON Lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def is_done(folder: Path) -> bool:
    """Whether the stage that writes this folder has finished."""
    return (folder / DONE).exists()


def read_done(folder: Path) -> dict[str, Any]:
    """What a finished stage left on record."""
    return json.loads((folder / DONE).read_text(encoding="utf-8"))


def mark_done(folder: Path, record: Mapping[str, object]) -> None:
    """Declare a stage finished; written last, so that everything else is there."""
    write_json(folder / DONE, dict(record))


def key_of(value: object) -> str:
    """Hash plain values: equal settings give equal keys, in every process.

    Example:
        >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def adopt_lines(source: Path, target: Path, *, phase: str) -> None:
    """Take a phase's rows over from a shared stage's file; doing it twice changes nothing."""
    others = [row for row in read_lines(target) if row["phase"] != phase]
    write_lines(target, [*read_lines(source), *others])


@contextlib.contextmanager
def only_one(path: Path, *, wanted: bool) -> Iterator[None]:
    """Hold a lock that other jobs wait for; ``wanted=False`` goes on without it.

    The operating system lets go of it when a process dies, so a lock is never left behind by
    a crash. Who has to wait says so.
    """
    if not wanted:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process is at this: waiting for it (its lock is %s)", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
