"""Whose mistake an error is, and what is said of it."""

import errno
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from repic.errors import FAULT, explain, explain_fault, is_told, tell
from repic.parsing import parse_yes_no


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def refuse(error: Exception, cause: BaseException | None = None) -> None:
    raise error from cause


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: refuse(ValueError("seed: -1")), True),
        (lambda: refuse(RuntimeError("x"), raised(lambda: refuse(ValueError("seed")))), True),
        (lambda: Path("/no/such/file").read_text(), True),
        (lambda: __import__("no_such_module"), True),
        (lambda: refuse(MemoryError("10 TB")), True),
        (lambda: refuse(KeyError("seed")), False),
        (lambda: int("x"), False),  # nobody has said what is wrong with it
        (lambda: math.sqrt(-1), False),
        (lambda: refuse(RuntimeError("x"), raised(lambda: int("x"))), False),
        (lambda: refuse(RuntimeError("shapes")), False),
    ],
)
def test_an_error_that_is_raised_on_purpose_is_told_and_others_are_faults(
    call: Callable[[], object], expected: bool
) -> None:
    assert is_told(raised(call)) is expected


def test_a_fault_says_where_it_is_and_what_to_send() -> None:
    log, command = Path("run.log"), ["python", "-m", "repic.run", "name=a b"]
    ours = explain_fault(raised(lambda: parse_yes_no(3)), log, command)  # type: ignore[arg-type]
    assert ours.startswith("this is a fault of repic, not of what it was given: ")
    assert "/repic/parsing.py, line " in ours
    assert ours.endswith("with that file and the command: python -m repic.run 'name=a b'")
    theirs = explain_fault(raised(lambda: refuse(KeyError("a"))), log, command)
    assert theirs.startswith(f"KeyError: 'a' ({__file__}, line ")
    assert theirs.endswith("the traceback is in run.log")


def test_a_fault_s_traceback_is_kept_where_the_line_says(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # no run has a log here
    assert tell("repic.table", raised(lambda: int("x")), program="repic.table") == FAULT
    said = capsys.readouterr().err
    path = Path(said.partition("the traceback is in ")[2].strip())
    assert "Traceback" in path.read_text()
    assert "Traceback" not in said
    path.unlink()
    assert tell("repic.table", ValueError("no runs"), program="repic.table") == 1
    assert capsys.readouterr().err == "repic.table: no runs\n"


def test_what_may_not_be_read_is_no_matter_of_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(place: Path) -> str:
        return explain(PermissionError(errno.EACCES, "Permission denied", str(place)))

    assert told(tmp_path / "new").endswith("you may write to with outputs=<folder>")
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.R_OK)
    assert told(tmp_path) == f"{tmp_path}: Permission denied; let it be read"
