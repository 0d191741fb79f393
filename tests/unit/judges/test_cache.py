import logging
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repic.judges.cache import AnswerCache
from tests.properties import at_most

ROOT = Path(__file__).parents[3]


def get(path: Path, keys: Sequence[str]) -> dict[str, str]:
    with AnswerCache(path).open() as cache:
        return cache.get(keys)


@at_most(20)  # each of them syncs files to the disk
@given(st.lists(st.tuples(st.text(max_size=5), st.text())))
@example([("a", "first"), ("b", "other"), ("a", "last")])
def test_what_was_put_is_got_the_last_of_each_key(rows: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "answers.sqlite"
        keys = [key for key, _ in rows]
        with AnswerCache(path).open() as cache:
            for key, text in rows:
                cache.put(key, "judge", text)
            assert cache.get(keys) == dict(rows)
        assert get(path, [*keys, "not there"]) == dict(rows)


def test_more_keys_than_a_query_takes(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    with sqlite3.connect(cache.path) as connection:
        rows = [(str(i), "judge", f"text {i}") for i in range(1300)]
        connection.executemany("INSERT INTO answers VALUES (?, ?, ?)", rows)
    assert get(cache.path, [str(i) for i in range(2000)]) == {key: text for key, _, text in rows}


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom repic.judges.cache import AnswerCache\n"
        "with AnswerCache(sys.argv[1]).open() as cache:\n"
        "    for i in range(100): cache.put(f'{sys.argv[2]}/{i}', 'judge', str(i))"
    )
    path = tmp_path / "answers.sqlite"
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(n)], cwd=ROOT)
        for n in range(3)
    ]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]
    keys = [f"{n}/{i}" for n in range(3) for i in range(100)]
    assert get(path, keys) == {key: key.partition("/")[2] for key in keys}
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def damage(path: Path) -> None:
    with AnswerCache(path).open() as cache:
        for i in range(200):
            cache.put(str(i), "judge", "words " * 50)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xff" * 8192  # past the header and the schema
    path.write_bytes(content)


def of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")


def of_another_version(path: Path) -> None:
    AnswerCache(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=7")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("no database at all " * 100),
        damage,
        of_another_program,
        of_another_version,
        lambda path: path.mkdir(),
    ],
)
def test_a_file_that_cannot_serve_is_named_at_once(tmp_path: Path, spoil) -> None:
    path = tmp_path / "answers.sqlite"
    spoil(path)
    with pytest.raises(ValueError, match=r"judge\.cache: .*answers\.sqlite.* move it away"):
        AnswerCache(path)


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.touch()
    with AnswerCache(path).open() as cache:
        cache.put("key", "judge", "text")
    assert get(path, ["key"]) == {"key": "text"}


def test_an_answer_is_kept_whatever_happens_after_it(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"

    def put_and_stop() -> None:
        with AnswerCache(path).open() as cache:
            cache.put("key", "judge", "text")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_and_stop()
    assert get(path, ["key"]) == {"key": "text"}


def test_a_file_that_breaks_later_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    for path in tmp_path.iterdir():
        path.write_bytes(b"broken" * 1000)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with cache.open() as answers:
                answers.put("key", "judge", "text")
                assert answers.get(["key"]) == {}
    assert len(caplog.messages) == 1
    assert "answers.sqlite" in caplog.messages[0]
