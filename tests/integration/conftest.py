"""A random model on disk, for the runs of this folder."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from repic import run
from tests.integration.small import start
from tests.tiny import build_qwen


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="session")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the smallest size, to be read and not written to."""
    with given_back():
        return start(model, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Run the command line in this process; return its status, its output and its complaint."""

    def call(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["repic", *arguments])
        capsys.readouterr()
        try:
            run.main()
        except SystemExit as end:
            return end.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return call


@contextmanager
def given_back() -> Iterator[None]:
    """Give back what a run in this process takes: log handlers, and Ctrl-C."""
    handlers, interrupt = list(logging.getLogger().handlers), signal.getsignal(signal.SIGINT)
    yield
    logging.getLogger().handlers[:] = handlers
    signal.signal(signal.SIGINT, interrupt)


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    with given_back():
        yield
