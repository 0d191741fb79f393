"""experiments/METRICS.md has a row for every number of metrics.jsonl, and none for others."""

import re
from pathlib import Path

import pytest

from repic.tables.runs import read_metrics
from tests.integration.small import start

TABLE = Path(__file__).parents[2] / "experiments" / "METRICS.md"

# Rows that the runs below cannot have, and why.
ELSEWHERE = {
    "mfu/<part>": "a known GPU",
    "grpo/failed_frac/<component>": "a judge that fails",
    "grpo/not_finite_frac": "logits that are NaN",
    "grpo/correction": "captions that a server draws; see test_vllm.py",
    "grpo/correction_capped_frac": "captions that a server draws; see test_vllm.py",
    "judge/<count>": "a reward that asks a judge",
    "grpo/condition_met_frac/<component>": "a reward with a condition",
    "grpo/raw_reward/<component>": "a reward with a condition",
    "dpo/margin": "preferences; see test_dpo.py",
    "dpo/accuracy": "preferences; see test_dpo.py",
    "val/<task>/<part>": "pre-training; see test_pretrain.py",
}


def documented() -> dict[str, re.Pattern[str]]:
    """Keys of the table as patterns; <anything> stands for one part of a key."""
    rows = re.findall(
        r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \|$", TABLE.read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) == len(set(rows))
    return {row: re.compile(pattern(row)) for row in rows}


def pattern(row: str) -> str:
    """A number of concepts is not a task, so that val/1/surprise is no row's."""
    special = {"<count>": r"(?:\d+|all)", "<task>": r"(?!\d|all/)[^/]+"}
    parts = re.split(r"(<\w+>)", row)
    return "".join(
        special.get(part, "[^/]+") if part.startswith("<") else re.escape(part) for part in parts
    )


def logged(folder: Path) -> set[str]:
    return {key for row in read_metrics(folder) for key in row.values}


def undocumented(keys: set[str]) -> set[str]:
    patterns = documented().values()
    return {key for key in keys if not any(p.fullmatch(key) for p in patterns)}


@pytest.fixture(scope="module")
def keys(model: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Those of a run in which everything that logs something is switched on."""
    folder = start(
        model,
        tmp_path_factory.mktemp("run"),
        "kl.in_reward=true",
        "kl.target=0.05",
        "phase.grpo.resample_attempts=1",
        "phase.grpo.guards.max_kl.action=cool",
        "phase.sft.val_every=2",
        "phase.grpo.val_every=2",
        "phase.grpo.optimizer.lr=0.01",
        "data.rules.drop_info=0.0",
    )
    return logged(folder)


def test_every_number_has_a_row(keys: set[str]) -> None:
    assert undocumented(keys) == set()
    strange = {"grpo/surprise", "kl", "grpo/reward/a/b", "val/1/surprise"}
    assert undocumented(strange) == strange


def test_every_row_has_a_number(keys: set[str]) -> None:
    rows = documented()
    assert ELSEWHERE.keys() <= rows.keys()
    unseen = {row for row, pattern in rows.items() if not any(map(pattern.fullmatch, keys))}
    assert unseen == ELSEWHERE.keys()


def test_every_row_says_a_unit_and_a_meaning() -> None:
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len(lines) == len(documented()) > 40
