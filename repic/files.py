"""Files that survive interruptions, and files that people may have touched.

What is written here is whole or absent, never half. Whatever is wrong with a file that is read
here is a ``ValueError`` which says where: file, line or row, key; and how to mend it.
"""

import contextlib
import errno
import glob
import hashlib
import itertools
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import MinLen
from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

DONE = "done.json"
FULL = 1 << 20  # bytes free at which a failed write is put down to the disk
# Bytes of a text file that is read whole, and of a line: far more than any file that is meant, and
# what a machine can hold.
MOST, MOST_OF_LINE = 1 << 30, 1 << 26
Shape = TypeVar("Shape")
Texts = Annotated[tuple[str, ...], MinLen(1)]  # as a field: a list with a text or more

# The last word of what pydantic says of a value -> what we say.
_NEEDS = {
    "string": "text",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a JSON object",
    "0": "one or more",
}


def write_file(path: Path, write: Callable[[Path], object], *, earlier: Path | None = None) -> None:
    """Let ``write`` make a file beside ``path`` and put it in place once it is complete.

    A full disk leaves the earlier file as it was, and so does a kill; what that leaves half
    written is removed by the next who holds the lock (``only_one``).

    Args:
        path: of the file.
        write: is given the path to write to.
        earlier: where the earlier file is put; None: nowhere.

    Raises:
        ValueError: there is a folder, or a device, which a file would take the place of.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no file, and none is put in its place; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        with disk_errors(path):
            write(part)
            flush(part)
        if earlier is not None and path.exists():
            os.replace(path, earlier)
        os.replace(part, path)
        flush(path.parent)
    except OSError as error:
        if error.filename == str(part):  # a name that nobody knows
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # what has failed above
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


def write_folder(
    path: Path, write: Callable[[Path], object], *, earlier: Path | None = None
) -> None:
    """Let ``write`` fill a folder and put it in place of ``path`` once it is complete.

    Args:
        path: a folder, or nothing yet; with ``earlier`` it may be a file.
        write: is given the folder to fill.
        earlier: where what was there is kept; None: nowhere.
    """
    part, before = _part(path), earlier or _part(path.with_name(f"{path.name}.earlier"))
    for rest in (part, *([] if earlier else [before])):
        shutil.rmtree(rest, ignore_errors=True)
    part.mkdir(parents=True)
    with disk_errors(path):
        write(part)
        for file in (*part.rglob("*"), part):
            flush(file)
    if path.exists():
        remove(before)
        os.replace(path, before)
    os.replace(part, path)
    flush(path.parent)
    if earlier is None:
        remove(before)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until the disk has what a file, or a folder, holds.

    Otherwise a crash of the machine may leave a name without its content, or an older name.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def set_aside(path: Path) -> Path:
    """Rename a file, or folder, that is of no use, so that nothing is lost; return where it is."""
    names = (f"{path.name}.set_aside{number or ''}" for number in itertools.count())
    aside = next(new for name in names if not (new := path.with_name(name)).exists())
    path.rename(aside)
    return aside


@cache
def machine() -> str:
    """Tell apart those who number their processes for themselves: machines, and containers.

    Empty where the system does not say.
    """
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text()
        return booted + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _part(path: Path) -> Path:
    # Processes of one number may share a disk.
    where = key_of(machine() or platform.node())[:8]
    return path.with_name(f".{path.name}.{where}.{os.getpid()}.part")


def _remove_parts(lock: Path) -> None:
    """Remove what was half written of all that a lock is for; its holder alone writes there."""
    folder, name = lock.parent, lock.name.removesuffix(".lock")
    if name:
        own = glob.escape(name)
        found = [*folder.glob(f".{own}.*.part"), *(folder / name).rglob(".*.part")]
    else:
        found = list(folder.rglob(".*.part"))
    for rest in found:
        if rest.is_dir():
            shutil.rmtree(rest, ignore_errors=True)
        else:
            rest.unlink(missing_ok=True)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a JSON Lines file, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_line(path: Path, row: object, *, durable: bool = False) -> None:
    """Add one row to a JSON Lines file.

    Args:
        path: the file.
        row: the row.
        durable: put it in the place of a line that was cut short, and wait until the disk has it.
    """
    with path.open("a+b") as file:
        if durable:
            file.seek(0)
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())


def mark_done(folder: Path, record: Mapping[str, object]) -> None:
    """Declare a folder finished; written last, with the sizes of the files that it speaks of."""
    write_json(folder / DONE, {**record, "files": _sizes(folder)})


def read_done(folder: Path) -> dict[str, Any] | None:
    """What a finished folder has on record; None while it is not finished, or has lost a file.

    Raises:
        ValueError: the record is damaged.
    """
    if not (folder / DONE).exists():
        return None
    place = str(folder / DONE)
    record = as_shape(dict[str, Any], read_json(folder / DONE), place)
    sizes = as_shape(dict[str, int], record.pop("files", {}), place)
    return record if sizes and sizes.items() <= _sizes(folder).items() else None


def _sizes(folder: Path) -> dict[str, int]:
    there = (file for file in sorted(folder.iterdir()) if file.is_file())
    others = (file for file in there if file.name != DONE and file.suffix != ".part")
    return {file.name: file.stat().st_size for file in others}


def key_of(value: object) -> str:
    """Hash plain values: equal settings give equal keys, in every process.

    Example:
        >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """Hash a file's bytes; one that cannot be read has none, and says why where it is loaded."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        return "unreadable"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def stamp(path: Path) -> tuple[int, ...]:
    """Another one where a file, or a folder, may have changed; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def files_below(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder and is none, in any order; what is hidden is passed over.

    Links to folders are followed. One that several ways lead to is entered once, by that without a
    link if there is one.
    """
    waiting, entered = [str(folder)], set()
    while waiting:
        for home, folders, names in os.walk(waiting.pop(0)):
            if (place := os.path.realpath(home)) in entered:
                folders.clear()
                continue
            entered.add(place)
            folders[:] = sorted(name for name in folders if name[0] != ".")
            inside = (os.path.join(home, name) for name in folders)
            waiting += filter(os.path.islink, inside)
            yield from (Path(home, name) for name in names if name[0] != ".")


def adopt_lines(source: Path, target: Path, *, phase: str) -> None:
    """Take a phase's rows over from a shared stage's file; doing it twice changes nothing."""
    others = [row for row in read_lines(target, phase=str) if row["phase"] != phase]
    write_lines(target, [*read_lines(source), *others])


@contextlib.contextmanager
def only_one(path: Path, *, wanted: bool) -> Iterator[None]:
    """Hold a lock that other jobs wait for; ``wanted=False`` goes on without it.

    ``<name>.lock`` is for what is called <name> or <name>.<anything> in its folder, and ``.lock``
    for all in its folder. The operating system lets go of it when a process dies, so a lock is
    never left behind by a crash; what a killed holder left half written, the next one removes.
    Who has to wait says so.
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
        _remove_parts(path)
        yield
    finally:
        lock.release()


def read_text(path: Path, *, mend: str = "put it there, or mend the path") -> str:
    """Read a file in UTF-8; ``mend`` says what to do where there is none.

    Raises:
        ValueError: there is none, it cannot be opened, is in another encoding, or above ``MOST``.
    """
    try:
        refuse_large(path)
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; {mend}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {_other_encoding(error)}") from None


@contextlib.contextmanager
def at(place: str) -> Iterator[None]:
    """Say where it is that something is wrong."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def below(root: Path, path: str, *, may_leave: bool, key: str) -> Path:
    r"""Return where a path of a data file leads, which is not out of its folder.

    Args:
        root: the folder.
        path: as somebody else wrote it, perhaps with backslashes.
        may_leave: let it lead anywhere.
        key: what lets it, for the complaint.

    Raises:
        ValueError: it is empty; it is absolute, goes up, or passes a link, and so ends outside of
            ``root``.

    Example:
        >>> below(Path("data"), "cats\\bo.jpg", may_leave=False, key="leave").as_posix()
        'data/cats/bo.jpg'
    """
    if not path.strip():
        raise ValueError("is empty, need a path")
    place = root / path.replace("\\", "/")
    try:
        is_inside = Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root))
    except ValueError:  # a NUL
        raise ValueError(f"{shown(path)} is no path; mend it") from None
    if not (is_inside or may_leave):
        raise ValueError(
            f"{shown(path)} leads out of {root}; mend the path or the link, or, if you trust who"
            f" wrote it, {key}"
        )
    return place


def refuse_large(path: Path, most: int = MOST) -> None:
    """Raise for a file that would not fit into memory; nothing of it is read."""
    if (size := path.stat().st_size) > most:
        raise ValueError(f"{path}: has {size / 1e9:.1f} GB, and may have {most / 1e9:.1f}")


def read_json(path: Path, *, mend: str = "put it there, or mend the path") -> Any:
    """Read a JSON file in which no key stands twice.

    Raises:
        ValueError: as ``read_text``; or it is not JSON, or none that Python can hold.
    """
    return _parse(read_text(path, mend=mend), str(path), has_lines=True)


def read_rows(path: Path, *, may_be_cut: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a JSON Lines file, each with its place; none where there is no file.

    No more is read than is asked for.

    Args:
        path: the file.
        may_be_cut: leave out a last line that an interruption cut short.
    """
    if not path.exists():
        return
    try:
        # newline: a caption may hold U+2028 or a lone carriage return.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_OF_LINE), ""), start=1):
                place = f"{path}, line {number}"
                if len(line) == MOST_OF_LINE:
                    raise ValueError(f"{place}: has more than {MOST_OF_LINE} characters")
                try:
                    if line.strip():
                        yield place, _parse(line, place, has_lines=False)
                except ValueError:
                    if not may_be_cut or line.endswith("\n"):
                        raise
    except UnicodeDecodeError as error:
        if may_be_cut and error.reason == "unexpected end of data":
            return  # within a letter
        raise ValueError(f"{path}: {_other_encoding(error)}") from None


def read_lines(path: Path, **keys: type) -> list[dict[str, Any]]:
    """Read the rows that ``append_line`` wrote; a last one that was cut short is left out.

    Raises:
        ValueError: a row is no object, or one of ``keys`` is not there or of another type.
    """
    rows = []
    for place, row in read_rows(path, may_be_cut=True):
        rows.append(as_shape(dict[str, Any], row, place))
        for key, kind in keys.items():
            as_shape(kind, row.get(key), f"{place}, key {key!r}")
    return rows


def as_shape(
    shape: Callable[..., Shape],
    value: object,
    place: str,
    *,
    need: str = "",
    is_closed: bool = False,
) -> Shape:
    """Check that JSON has the fields and types that are declared, and make what declares them.

    Numbers are not taken for text, nor true for 1.

    Args:
        shape: a dataclass, a TypedDict, or a type such as ``dict[str, list[str]]``.
        value: what was parsed.
        place: where it stands, for complaints.
        need: what has to stand there, where that is more than a type.
        is_closed: refuse keys that the shape does not have.

    Example:
        >>> as_shape(dict[str, tuple[int, ...]], {"a": [1, 2]}, "a.json")
        {'a': (1, 2)}
        >>> as_shape(dict[str, tuple[int, ...]], {"a": [1, True]}, "a.json")
        Traceback (most recent call last):
        ValueError: a.json, key 'a.1': is true, need a whole number
    """
    from pydantic import ValidationError  # takes longer to import than all else here

    try:
        # As text, because what is strict differs: in JSON a tuple is a list, too.
        return _validator(shape).validate_json(
            json.dumps(value), strict=True, extra="forbid" if is_closed else "ignore"
        )
    except ValidationError as error:
        first = error.errors()[0]
    keys = list(first["loc"])
    if first["type"] == "missing":
        complaint = f"the key {keys.pop()!r} is missing"
        complaint += f"; need {need}" if need else ""
    elif first["type"] == "unexpected_keyword_argument":
        complaint = f"unknown key {keys.pop()!r}"
        if not keys and is_dataclass(shape):
            complaint += f"; the keys are {', '.join(field.name for field in fields(shape))}"
    else:
        need = need or _NEEDS.get(first["msg"].rpartition(" ")[2]) or f"other: {first['msg']}"
        complaint = f"is {shown(first['input'])}, need {need}"
    key = f", key {'.'.join(map(str, keys))!r}" if keys else ""
    raise ValueError(f"{place}{key}: {complaint}")


@cache
def _validator(shape: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def shown(value: object) -> str:
    """A value as JSON, cut where it would fill a complaint."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _parse(text: str, place: str, *, has_lines: bool) -> Any:
    if not text.strip():
        raise ValueError(f"{place}: is empty, need JSON")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        if "\0" in text:
            raise ValueError(f"{place}: not UTF-8, perhaps UTF-16; save it as UTF-8") from None
        where = f"{place}, line {error.lineno}" if has_lines else place
        raise ValueError(
            f"{where}: not JSON ({error.msg}, column {error.colno}); mend or remove the line"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of 4,301 digits, too many brackets
        raise ValueError(f"{place}: not JSON that can be read ({error}); mend it") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python would keep the last of two equal keys, and lose the others without a word."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return table


def _other_encoding(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 text (byte {error.start}); save it as UTF-8"
