import errno
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from repic import files


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    files.write_text(path, "old")

    def fail(part: Path) -> None:
        part.write_text("half of the n")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    """A device's name would be a file's from then on, where the user may do so."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(ValueError, match=rf"{name}: is no file, and none is put in its place"):
            files.write_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_failed_write_is_told_of_the_file_that_was_asked_for(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(part))

    with pytest.raises(OSError, match=re.escape(f"'{tmp_path / 'a.txt'}'")):
        files.write_file(tmp_path / "a.txt", fail)


def test_a_full_disk_in_a_library_s_words_is_a_full_disk(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        raise RuntimeError("writing file: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space") as caught:
        files.write_file(tmp_path / "weights", fail)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "weights")

    def other(part: Path) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        files.write_file(tmp_path / "weights", other)


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    files.write_folder(folder, lambda part: (part / "old").write_text("1"))
    with pytest.raises(ZeroDivisionError):
        files.write_folder(folder, lambda part: [(part / "new").write_text("2"), 1 / 0])
    assert [path.name for path in folder.iterdir()] == ["old"]
    files.write_folder(folder, lambda part: (part / "new").write_text("2"))
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_what_a_killed_process_left_half_written_goes_with_the_next_lock(tmp_path: Path) -> None:
    own = [".key.resume.pt.7.part", ".key.7.part/model", "key/.done.json.7.part"]
    others = [".keys.7.part", "other/.done.json.7.part", "key/done.json", "key.resume.pt"]
    for name in (*own, *others):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with files.only_one(tmp_path / "key.lock", wanted=False):
        assert all((tmp_path / name).exists() for name in own)  # its holder may be at it
    with files.only_one(tmp_path / "key.lock", wanted=True):
        assert not any((tmp_path / name).exists() for name in own)
        assert all((tmp_path / name).exists() for name in others)
    with files.only_one(tmp_path / ".lock", wanted=True):
        left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {".lock", "key.lock", "done.json", "key.resume.pt"}


def test_processes_of_one_number_on_two_machines_do_not_write_into_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(part: Path) -> None:
        part.write_text("ours")
        monkeypatch.setattr(files, "machine", lambda: "another")
        files.write_text(tmp_path / "done.json", "theirs")
        assert part.read_text() == "ours"

    files.write_file(tmp_path / "done.json", write)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("done.json", "ours")]


@pytest.mark.parametrize("at", [1, 2])
def test_a_folder_that_is_replaced_is_never_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Whenever it is cut short, there is the old one, the new one, or none."""
    folder, calls, original = tmp_path / "model", [], os.replace

    def replace(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == at:
            raise KeyboardInterrupt
        original(source, target)

    files.write_folder(folder, lambda part: (part / "old").write_text("1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            files.write_folder(folder, lambda part: (part / "new").write_text("2"))
    assert [path.name for path in folder.rglob("*")] in (["old"], [])
    files.write_folder(folder, lambda part: (part / "new").write_text("2"))
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "new"]


def test_a_write_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, original = [], os.replace
    monkeypatch.setattr(files, "flush", lambda path: done.append(path.name))
    monkeypatch.setattr(os, "replace", lambda *a: (done.append("rename"), original(*a)))
    files.write_text(tmp_path / "a", "text")
    assert [name.startswith(".a.") for name in done[:1]] == [True]
    assert done[1:] == ["rename", tmp_path.name]
    done.clear()
    files.write_folder(tmp_path / "b", lambda part: (part / "weights").touch())
    assert done[0] == "weights"
    assert done[1].startswith(".b.")
    assert done[2:] == ["rename", tmp_path.name]


def test_what_is_set_aside_replaces_nothing(tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / "a.pt").write_text(text)
        files.set_aside(tmp_path / "a.pt")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"a.pt.set_aside": "one", "a.pt.set_aside1": "two"}


def test_lines_survive_what_captions_hold(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.jsonl", [{"text": "one\u2028two\n\x85 é <bo>"}, {"text": ""}]
    files.write_lines(path, rows)
    files.append_line(path, {"text": "last"})
    assert files.read_lines(path) == [*rows, {"text": "last"}]
    assert files.read_lines(tmp_path / "none.jsonl") == []


def test_a_last_line_cut_short_is_left_out_and_a_malformed_one_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2')
    assert files.read_lines(path) == [{"a": 1}]
    path.write_bytes('{"a": 1}\n{"a": "é'.encode()[:-1])  # within a letter
    assert files.read_lines(path) == [{"a": 1}]
    files.append_line(path, {"a": 3}, durable=True)
    assert files.read_lines(path) == [{"a": 1}, {"a": 3}]
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: not JSON"):
        files.read_lines(path)


def test_adopting_lines_twice_changes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "shared", tmp_path / "own"
    files.write_lines(source, [{"phase": "sft", "iteration": 1}])
    files.write_lines(target, [{"phase": "grpo", "iteration": 1}])
    for _ in range(2):
        files.adopt_lines(source, target, phase="sft")
    assert [row["phase"] for row in files.read_lines(target)] == ["sft", "grpo"]


def test_keys_tell_settings_apart_whatever_their_order() -> None:
    assert files.key_of({"a": 1, "b": [1, 2]}) == files.key_of({"b": [1, 2], "a": 1})
    assert files.key_of({"a": 1}) != files.key_of({"a": 1.5})


def test_only_one_job_is_inside_and_a_stale_file_does_not_matter(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "x.lock", [], []
    path.touch()  # left behind by a job that was killed

    def job() -> None:
        with files.only_one(path, wanted=True):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=job) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


def test_who_has_to_wait_for_another_job_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, is_held, done = tmp_path / "x.lock", threading.Event(), []

    def job() -> None:
        with files.only_one(path, wanted=True):
            is_held.set()
            while "waiting for it" not in caplog.text:
                time.sleep(0.01)
            done.append("first")

    thread = threading.Thread(target=job)
    thread.start()
    is_held.wait()
    with files.only_one(path, wanted=True):
        assert done == ["first"]
    thread.join()
    assert caplog.text.count("another process is at this: waiting for it") == 1
    assert str(path) in caplog.text


@dataclass(frozen=True)
class Being:
    name: str
    photos: tuple[str, ...]
    weight: float | None = None


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"photos": []}, "place: the key 'name' is missing"),
        ({"name": 3, "photos": []}, "place, key 'name': is 3, need text"),
        ({"name": "bo", "photos": "a.jpg"}, "place, key 'photos': is \"a.jpg\", need a list"),
        ({"name": "bo", "photos": ["a", 1]}, "place, key 'photos.1': is 1, need text"),
        ({"name": "bo", "photos": [], "weight": True}, "key 'weight': is true, need a number"),
        ({"name": "bo", "photos": [], "age": 1}, "place: unknown key 'age'"),
        (["bo"], 'place: is ["bo"], need a JSON object'),
    ],
)
def test_a_value_of_another_shape_is_told_with_its_key(value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        files.as_shape(Being, value, "place", is_closed=True)


def test_a_value_of_the_right_shape_becomes_what_declares_it() -> None:
    value = {"name": "bo", "photos": ["a"], "age": 1}
    assert files.as_shape(Being, value, "place") == Being("bo", ("a",))
    assert files.as_shape(dict[str, Being], {"x": value}, "place")["x"].photos == ("a",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{\n "a": 1,\n "b": 2\n', "line 4: not JSON (Expecting ',' delimiter, column 1); mend"),
        (b'{"a": 1, "a": 2}', ": not JSON that can be read (the key 'a' stands there twice)"),
        (b'{"a": "\xff"}', ": not UTF-8 text (byte 7); save it as UTF-8"),
        (b" \n", ": is empty, need JSON"),
        ('{"a": "bö"}'.encode("utf-16"), "not UTF-8"),
        ('{"a": "b"}'.encode("utf-16-le"), ": not UTF-8, perhaps UTF-16; save it as UTF-8"),
        (b"1" * 5000, ": not JSON that can be read"),
        (b"[" * 200_000, ": not JSON that can be read"),
        (None, ": no such file; put it there, or mend the path"),
        ("folder", ": cannot be read (Is a directory)"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes | str | None, complaint: str
) -> None:
    path = tmp_path / "a.json"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(complaint)) as raised:
        files.read_json(path)
    assert str(raised.value).startswith(str(path))


def test_a_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": "é"}', encoding="utf-8-sig")
    assert files.read_json(tmp_path / "a.json") == {"a": "é"}


def test_rows_know_their_places_and_are_read_as_far_as_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"a": "\u2028\\r"}\n\n[2]\nnot JSON'.encode())
    rows = files.read_rows(path)
    assert [next(rows), next(rows)] == [
        (f"{path}, line 1", {"a": "\u2028\r"}),
        (f"{path}, line 3", [2]),
    ]
    with pytest.raises(ValueError, match=r"a\.jsonl, line 4: not JSON .* mend or remove the line"):
        next(rows)
    path.write_bytes(b"{}\n\xff")
    with pytest.raises(ValueError, match=r"a\.jsonl: not UTF-8 text"):
        list(files.read_rows(path))


def test_a_folder_is_done_when_all_is_there_that_its_mark_speaks_of(tmp_path: Path) -> None:
    assert files.read_done(tmp_path) is None
    (tmp_path / "weights").write_text("123")
    files.mark_done(tmp_path, {"phase": "sft"})
    (tmp_path / "README").touch()
    assert files.read_done(tmp_path) == {"phase": "sft"}
    (tmp_path / "weights").write_text("1234")
    assert files.read_done(tmp_path) is None
    (tmp_path / "weights").unlink()
    assert files.read_done(tmp_path) is None
    (tmp_path / "done.json").write_text("{}")  # of a folder without files, or of another program
    assert files.read_done(tmp_path) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("3", "line 2: is 3, need a JSON object"),
        ('{"iteration": 1}', "line 2, key 'phase': is null, need text"),
        ('{"phase": "sft", "iteration": "1"}', "line 2, key 'iteration': is \"1\", need a whole"),
    ],
)
def test_rows_that_somebody_has_edited_are_told_by_line_and_key(
    tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"phase": "sft", "iteration": 1}}\n{line}\n')
    with pytest.raises(ValueError, match=re.escape(f"{path}, {said}")):
        files.read_lines(path, phase=str, iteration=int)
