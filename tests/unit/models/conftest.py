from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session", params=["qwen", "llava"])
def directory(request: pytest.FixtureRequest) -> Path:
    """Each architecture in turn."""
    return request.getfixturevalue(request.param)
