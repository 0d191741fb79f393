"""Answers kept on disk, so that the same question is paid for once.

One SQLite file that several processes may use at the same time (by a write-ahead log, so not on a
network file system). It is open only while a batch is asked: a process that forks, or is killed,
between batches has nothing open.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock

log = logging.getLogger(__name__)

_VERSION = 1
_WAIT = 30.0  # seconds for another process's write
_AT_ONCE = 500  # keys in a query; SQLite's oldest limit is 999


class AnswerCache:
    """Texts by key.

    Args:
        path: the file; it and its folder are made if they are missing. One that is damaged or is
            something else is a ``ValueError``, now and not when it is needed.

    Once made, it never raises for the file's sake: a file that breaks later, or a full disk, is
    told once in the log, and then nothing is found or kept.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._is_told = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Two processes that switch a new file to its log at once would be refused.
            with FileLock(f"{self.path}.lock"), contextlib.closing(self._connect()) as connection:
                _prepare(connection)
        except (sqlite3.Error, _NotACacheError) as error:
            why = " ".join(str(error).split())
            raise ValueError(
                f"judge.cache: {self.path} cannot be used as a file of answers ({why});"
                " move it away, or name another file"
            ) from None

    @contextlib.contextmanager
    def open(self) -> Iterator["OpenCache"]:
        """Open the file for a batch. What is put is kept at once, also if the block fails."""
        connection = None
        try:
            connection = self._connect()
        except sqlite3.Error as error:
            self._tell(error)
        try:
            yield OpenCache(connection, self._tell)
        finally:
            if connection is not None:
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        # Without transactions of Python's: every statement is one. A batch may be asked in another
        # thread than the one that waits for it.
        connection = sqlite3.connect(
            self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False
        )
        # Nothing waits for the disk: a crash of the machine may cost the last answers, no more.
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _tell(self, error: sqlite3.Error) -> None:
        if not self._is_told:
            log.warning("judge.cache: %s: %s; going on without it", self.path, error)
        self._is_told = True


class OpenCache:
    """What a batch sees of the file; made by ``AnswerCache.open``."""

    def __init__(
        self, connection: sqlite3.Connection | None, tell: Callable[[sqlite3.Error], None]
    ) -> None:
        self._connection, self._tell = connection, tell

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the texts that are there."""
        found: dict[str, str] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, text FROM answers WHERE key IN ({marks})"
            found.update(self._execute(query, some))
        return found

    def put(self, key: str, model: str, text: str) -> None:
        """Keep a text; an earlier one of that key is replaced. ``model`` is for people to see."""
        self._execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, model, text))

    def _execute(self, statement: str, values: Sequence[str]) -> list[tuple[str, str]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._tell(error)
            return []


class _NotACacheError(Exception):
    """A sound SQLite file that is not ours."""


def _prepare(connection: sqlite3.Connection) -> None:
    """Check a file, and lay out a new one."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables and (version != _VERSION or "answers" not in tables):
        raise _NotACacheError("it holds other tables, or those of another version")
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise _NotACacheError(state)
    if not tables:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA user_version={_VERSION}")
        connection.execute(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, model TEXT, text TEXT) WITHOUT ROWID"
        )
