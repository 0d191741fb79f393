import math
from pathlib import Path
from typing import ClassVar

import pytest

from repic import files
from repic.phases.loggers import JsonlLogger, close, has_wandb_account, wandb_logger


def test_lines_hold_phase_iteration_and_numbers(tmp_path: Path) -> None:
    logger = JsonlLogger(tmp_path / "metrics.jsonl", "sft")
    logger.log_metrics({"sft/loss": 1.5, "val/cider": math.nan}, step=3)
    assert files.read_lines(logger.path) == [
        {"phase": "sft", "iteration": 3, "sft/loss": 1.5, "val/cider": None}
    ]


def test_keep_drops_what_will_come_again_of_this_phase_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sft, grpo = JsonlLogger(path, "sft"), JsonlLogger(path, "grpo")
    assert grpo.keep(0) == 0  # nothing there: not an error, and no file
    assert not path.exists()
    for i in (1, 2, 3):
        sft.log_metrics({}, step=i)
        grpo.log_metrics({}, step=i)
    with path.open("a") as file:
        file.write('{"phase": "grpo", "itera')  # the process was killed here
    assert grpo.keep(1) == 3
    rows = [(row["phase"], row["iteration"]) for row in files.read_lines(path)]
    assert sorted(rows) == [("grpo", 1), ("sft", 1), ("sft", 2), ("sft", 3)]


def test_wandb_is_offline_without_an_account_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_wandb_account()
    with caplog.at_level("INFO"):
        for _ in range(2):
            logger = wandb_logger(tmp_path, project="p", group="g", name="n", mode="auto")
            assert logger._offline
    assert caplog.text.count("logs offline") == 1
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert has_wandb_account()
    assert not wandb_logger(tmp_path, project="p", group="g", name="n", mode="auto")._offline
    assert wandb_logger(tmp_path, project="p", group="g", name="n", mode="offline")._offline


def test_an_interrupted_run_stays_one_wandb_run(tmp_path: Path) -> None:
    where = {"project": "p", "group": "g", "name": None, "mode": "offline"}
    ids = [wandb_logger(tmp_path / folder, **where)._wandb_init["id"] for folder in "aab"]
    assert ids[0] == ids[1] != ids[2]


def test_a_netrc_entry_is_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password x\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_wandb_account()


def test_closing_ends_a_wandb_run_that_was_begun_and_begins_none(tmp_path: Path) -> None:
    class Run:
        codes: ClassVar[list[int]] = []

        def finish(self, exit_code: int) -> None:
            self.codes.append(exit_code)

    logger = wandb_logger(tmp_path, project="p", group="g", name="n", mode="offline")
    close(logger, is_finished=True)
    assert logger._experiment is None
    logger._experiment = run = Run()
    close(logger, is_finished=False)
    assert run.codes == [1]  # it failed, until the same command goes on with it
    close(JsonlLogger(tmp_path / "a.jsonl", "sft"), is_finished=True)
