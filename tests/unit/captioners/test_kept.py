"""Captions are kept portion by portion, and nothing is written twice."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example as example_of
from hypothesis import given
from hypothesis import strategies as st

from repic import files
from repic.captioners.captioner import Caption, Cost, Labels
from repic.captioners.kept import kept_captions
from repic.types import Example


def example(name: str) -> Example:
    return Example(name, "caption", (), None, "?", "", (), (), 1)


class Portions:
    """Says what it is asked about; stops when it has answered ``limit`` portions."""

    labels = Labels("portions", "portions", is_shared=False, has_model=False)
    key, decoding = "portions", None

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.asked: list[list[str]] = []

    def cost(self) -> Cost:
        return Cost()

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        if self.limit is not None and len(self.asked) == self.limit:
            raise KeyboardInterrupt
        self.asked.append([e.id for e in examples])
        return [Caption(f"this is {e.id}", e.id != "e3", (1, len(self.asked))) for e in examples]


def ask(
    path: Path, examples: Sequence[Example], writer: Portions, portion: int = 2
) -> list[Caption]:
    return kept_captions(path, examples, writer.write, portion=portion, label="captions")


def test_an_interrupted_run_goes_on_with_the_portion_it_was_at(tmp_path: Path) -> None:
    path, examples = tmp_path / "a.jsonl", [example(f"e{i}") for i in range(5)]
    with pytest.raises(KeyboardInterrupt):
        ask(path, examples, Portions(limit=1))
    assert [row["id"] for row in files.read_lines(path)] == ["e0", "e1"]
    later = Portions()
    answers = ask(path, examples, later)
    assert later.asked == [["e2", "e3"], ["e4"]]
    assert [a.text for a in answers] == [f"this is e{i}" for i in range(5)]
    assert [a.finished for a in answers] == [True, True, True, False, True]
    again = Portions(limit=0)
    assert ask(path, examples, again) == answers  # whole: nobody is asked


@given(size=st.integers(0, 9), portion=st.integers(1, 4), stop=st.integers(0, 4), cut=st.booleans())
@example_of(size=5, portion=2, stop=1, cut=True)  # half of a portion is there
@example_of(size=9, portion=4, stop=2, cut=True)
def test_it_comes_to_the_same_wherever_it_was_interrupted(
    tmp_path_factory: pytest.TempPathFactory, size: int, portion: int, stop: int, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("answers") / "a.jsonl"
    examples = [example(f"e{i}") for i in range(size)]
    try:
        ask(path, examples, Portions(limit=stop), portion)
    except KeyboardInterrupt:
        if cut and (text := path.read_text()):  # in the middle of a line
            path.write_text(text[:-7])
    later = Portions()
    answers = ask(path, examples, later, portion)
    assert [a.text for a in answers] == [f"this is e{i}" for i in range(size)]
    # The batches are those of a run without interruption: a caption may depend on its batch.
    whole = [[e.id for e in examples[i : i + portion]] for i in range(0, size, portion)]
    assert later.asked == whole[len(whole) - len(later.asked) :]
    assert [row["id"] for row in files.read_lines(path)] == [e.id for e in examples]


def test_what_was_kept_of_others_or_without_tokens_is_written_anew(tmp_path: Path) -> None:
    path, examples = tmp_path / "a.jsonl", [example(f"e{i}") for i in range(3)]
    files.write_lines(path, [{"id": "e0", "text": "old", "finished": True}])
    assert ask(path, examples, Portions())[0].text == "this is e0"
    others = Portions()
    ask(path, [example("x"), *examples], others)
    assert others.asked == [["x", "e0"], ["e1", "e2"]]
    fewer = Portions()
    ask(path, [example("x")], fewer)
    assert fewer.asked == [["x"]]  # a longer file is not this one


def test_two_jobs_that_want_the_same_captions_write_them_once(tmp_path: Path) -> None:
    path, examples = tmp_path / "a.jsonl", [example(f"e{i}") for i in range(6)]
    writers, found = [Portions(), Portions()], []
    jobs = [
        threading.Thread(target=lambda w=w: found.append(ask(path, examples, w))) for w in writers
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sorted(len(w.asked) for w in writers) == [0, 3]
    assert found[0] == found[1]


def test_progress_is_told_of_what_takes_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    ask(tmp_path / "a.jsonl", [example(f"e{i}") for i in range(4)], Portions())
    assert caplog.messages == []
    monkeypatch.setattr("repic.progress.SECONDS_BETWEEN_LINES", -1)
    ask(tmp_path / "b.jsonl", [example(f"e{i}") for i in range(4)], Portions())
    assert [text.split("  ")[0] for text in caplog.messages] == ["captions 2/4", "captions 4/4"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "e0"}',
        b'{"id": "e0", "text": 3, "finished": true, "token_ids": []}',
        b'{"id": "e0", "text": "", "finished": true, "token_ids": ["a"]}',
        b"[1]",
        b"{",
        b"\xff\xfe",
        b"\0\0\0",
    ],
)
def test_what_is_no_kept_caption_is_written_anew(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path, examples = tmp_path / "a.jsonl", [example(f"e{i}") for i in range(3)]
    ask(path, examples, Portions())
    sound = path.read_bytes()
    path.write_bytes(line + b"\n" + sound)
    assert [a.text for a in ask(path, examples, Portions())] == [f"this is e{i}" for i in range(3)]
    assert path.read_bytes() == sound
    assert f"{path}" in caplog.text
    assert "the captions are written anew" in caplog.text
