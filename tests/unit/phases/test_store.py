import errno
import threading
import time
from pathlib import Path

import pytest

from repic.phases import store


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    store.write_text(path, "old")

    def fail(part: Path) -> None:
        part.write_text("half of the n")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.write_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_in_a_library_s_words_is_a_full_disk(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        raise RuntimeError("writing file: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space") as caught:
        store.write_file(tmp_path / "weights", fail)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "weights")

    def other(part: Path) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        store.write_file(tmp_path / "weights", other)


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    store.write_folder(folder, lambda part: (part / "old").write_text("1"))
    with pytest.raises(ZeroDivisionError):
        store.write_folder(folder, lambda part: [(part / "new").write_text("2"), 1 / 0])
    assert [path.name for path in folder.iterdir()] == ["old"]
    store.write_folder(folder, lambda part: (part / "new").write_text("2"))
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_lines_survive_what_captions_hold(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.jsonl", [{"text": "one\u2028two\n\x85 é <bo>"}, {"text": ""}]
    store.write_lines(path, rows)
    store.append_line(path, {"text": "last"})
    assert store.read_lines(path) == [*rows, {"text": "last"}]
    assert store.read_lines(tmp_path / "none.jsonl") == []


def test_a_last_line_cut_short_is_left_out_and_a_malformed_one_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2')
    assert store.read_lines(path) == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: not JSON"):
        store.read_lines(path)


def test_adopting_lines_twice_changes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "shared", tmp_path / "own"
    store.write_lines(source, [{"phase": "sft", "iteration": 1}])
    store.write_lines(target, [{"phase": "grpo", "iteration": 1}])
    for _ in range(2):
        store.adopt_lines(source, target, phase="sft")
    assert [row["phase"] for row in store.read_lines(target)] == ["sft", "grpo"]


def test_keys_tell_settings_apart_whatever_their_order() -> None:
    assert store.key_of({"a": 1, "b": [1, 2]}) == store.key_of({"b": [1, 2], "a": 1})
    assert store.key_of({"a": 1}) != store.key_of({"a": 1.5})


def test_only_one_job_is_inside_and_a_stale_file_does_not_matter(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "x.lock", [], []
    path.touch()  # left behind by a job that was killed

    def job() -> None:
        with store.only_one(path, wanted=True):
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
        with store.only_one(path, wanted=True):
            is_held.set()
            while "waiting for it" not in caplog.text:
                time.sleep(0.01)
            done.append("first")

    thread = threading.Thread(target=job)
    thread.start()
    is_held.wait()
    with store.only_one(path, wanted=True):
        assert done == ["first"]
    thread.join()
    assert caplog.text.count("another process is at this: waiting for it") == 1
    assert str(path) in caplog.text
