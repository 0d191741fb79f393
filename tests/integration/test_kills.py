"""A few kills; many are tests/campaigns/kills.py."""

import shutil
from pathlib import Path

import pytest

from tests import forked
from tests.campaigns.kills import differences


@pytest.mark.slow
@pytest.mark.parametrize("campaign", ["campaign", "captions_campaign"])
def test_what_is_killed_again_and_again_ends_as_what_was_not(campaign: str, tmp_path: Path) -> None:
    code = f"import sys; from pathlib import Path; from tests.campaigns.kills import {campaign};"
    code += f"{campaign}(Path(sys.argv[1]), kills=6, seed=2)"
    (tmp_path / "code.py").write_text(code)
    # In a process of its own, which may fork.
    done = forked.run([str(tmp_path / "code.py"), str(tmp_path)], tmp_path / "said")
    assert done.returncode == 0, done.stderr
    assert "as if nothing had happened" in done.stdout


def test_other_ends_are_noticed(finished: Path, tmp_path: Path) -> None:
    whole, other = (
        Path(shutil.copytree(finished, tmp_path / name / "seed_0")).parent for name in "ab"
    )
    assert differences(whole, other) == []
    (other / "seed_0" / "checkpoints" / ".grpo.7.part").mkdir()
    assert differences(other, whole) == ["file seed_0/checkpoints/.grpo.7.part"]
    (other / "seed_0" / "checkpoints" / ".grpo.7.part").rmdir()
    for path in (other / "seed_0").glob("*.jsonl"):
        path.write_text(path.read_text().partition("\n")[0] + "\n")
    assert set(differences(other, whole)) == {"metrics.jsonl", "captions"}
