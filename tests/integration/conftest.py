"""A random model on disk, for the runs of this folder."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import build_qwen


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    """Give back what a run in this process takes: log handlers, and Ctrl-C."""
    handlers, interrupt = list(logging.getLogger().handlers), signal.getsignal(signal.SIGINT)
    yield
    logging.getLogger().handlers[:] = handlers
    signal.signal(signal.SIGINT, interrupt)
