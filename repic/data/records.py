"""JSON files that people may have touched: whatever is wrong with one is told with its place."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Record:
    """A JSON object that knows where it stands, so that complaints can say so."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{place}: need a JSON object, not {shown(value)}")
        self._values, self.place = value, place
        self.items = value.items

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(
        self,
        key: str,
        kind: type | tuple[type, ...],
        *,
        nullable: bool = False,
        default: Any = None,
    ) -> Any:
        if key not in self._values and default is not None:
            return default
        if key not in self._values:
            raise ValueError(f"{self.place}: the key {key!r} is missing")
        value = self._values[key]
        if value is None and nullable:
            return None
        # True and False are ints to Python, but not to anybody who counts.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            expected = " or ".join(k.__name__ for k in kinds)
            raise ValueError(f"{self.place}: {key!r} is {shown(value)}, need {expected}")
        return value


def shown(value: object) -> str:
    """A value as JSON, cut where it would fill a complaint."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def read_records(path: Path) -> Iterator[Record]:
    """Yield the objects of a JSON Lines file that may be absent."""
    if path.exists():
        # Not splitlines(): a caption may hold U+2028, which that would take for the end of a line.
        yield from _of_lines(read_text(path, "").split("\n"), path)


def stream_records(path: Path) -> Iterator[Record]:
    """Yield the objects of a JSON Lines file that may be absent, reading as far as is wanted."""
    if not path.exists():
        return
    try:
        # newline: a caption may hold U+2028 or a lone carriage return.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield from _of_lines(file, path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _of_lines(lines: Iterable[str], path: Path) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield Record(parse_json(line, path, place), place)


def parse_json(text: str, path: Path, place: str) -> object:
    """Parse a file's text, or the part of it that stands at ``place``.

    Raises:
        ValueError: it is not JSON, or none that Python can hold.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = place if path.suffix == ".jsonl" else f"{place}, line {error.lineno}"
        raise ValueError(
            f"{where}: not JSON ({error.msg}, column {error.colno}); mend or remove the line"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 4,301 digits, too many brackets
        raise ValueError(f"{place}: not JSON that can be read ({error}); mend it") from error


def read_text(path: Path, mend: str) -> str:
    """Read a file in UTF-8; ``mend`` says what to do where there is none.

    Raises:
        ValueError: there is none, or it is in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; {mend}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def is_number(value: object) -> bool:
    """Whether a JSON value is a number, or null in the place of one that could not be had."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
