from pathlib import Path

import pytest

from tests.photos import Collection, draw_collection


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return draw_collection(tmp_path)
