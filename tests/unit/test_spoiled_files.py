"""A few of the inputs of tests/campaigns/files.py, of every kind of file."""

from functools import partial
from pathlib import Path

import pytest

from tests.campaigns.files import KINDS, TOLD, VALUES, spoil
from tests.campaigns.harness import Tried, attempt, is_good


@pytest.mark.parametrize("name", KINDS)
def test_a_spoiled_file_is_told_in_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VALUES, "long text", "y" * 100_000)  # a tenth of the campaign's
    kind = KINDS[name]
    for spoiled, file, may_not_pass in spoil(kind, tmp_path, most=2):
        end, said = attempt(partial(kind.read, file), names=file.name, told=TOLD)
        assert is_good(Tried(spoiled, end, said, may_not_pass)), (spoiled, end, said)
