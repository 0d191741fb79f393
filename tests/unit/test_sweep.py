"""The callback that writes a multirun's tables, without a multirun."""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from repic.sweep import AblationTable, ended_with_tables
from repic.tables.runs import Run
from tests.unit.tables.saved import predictions, save_run

TEST = predictions("sft", [True, False, True])


def end_jobs(
    tmp_path: Path,
    runs: list[Run],
    capsys: pytest.CaptureFixture[str],
    failed: Sequence[str] = (),
) -> tuple[Path, str]:
    """Let a sweep of finished jobs end, or of some with a failed reward; return its folder, and
    what it printed.
    """
    config = OmegaConf.create(
        {
            "name": "toys", "outputs": str(tmp_path / "outputs"), "method": {"phases": ["sft"]},
            "table": {"form": "accuracy"},
            "hydra": {
                "overrides": {"task": ["debug=fast", "reward=none,combined"]},
                "runtime": {"choices": {}},
            },
        }
    )  # fmt: skip
    table = AblationTable()
    with contextlib.suppress(ZeroDivisionError), ended_with_tables():
        table.on_multirun_start(config)
        for run in runs:
            job = JobReturn()
            # What a job returns is for a sweeper that searches.
            job.status, job.return_value = JobStatus.COMPLETED, 0.5
            job.cfg = OmegaConf.create({"folder": str(run.folder)})
            table.on_job_end(config, job)
        for reward in failed:
            job = JobReturn(overrides=["debug=fast", f"reward={reward}"], cfg=OmegaConf.create({}))
            job.status = JobStatus.FAILED
            table.on_job_end(config, job)
        if failed:
            raise ZeroDivisionError  # as Hydra does, which tells no callback
        table.on_multirun_end(config)
    assert table.folder is not None
    return table.folder, capsys.readouterr().out


def test_a_sweep_ends_with_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        save_run(tmp_path / "a", TEST),
        save_run(tmp_path / "b", predictions("sft", [True] * 3), choices={"reward": "quality"}),
    ]
    folder, text = end_jobs(tmp_path, runs, capsys)
    assert {p.name for p in folder.glob("*.md")} == {"table.md", "cider.md", "names.md"}
    assert "Recognition accuracy" in text
    assert "precision, recall and F1" in text


def test_runs_that_have_ended_have_their_table_beside_some_that_have_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, text = end_jobs(tmp_path, [save_run(tmp_path / "a", TEST)], capsys, ["b", "c"])
    assert "| 66.7" in (folder / "table.md").read_text().replace("**", "")
    assert "66.7" in text
    assert text.endswith(
        "not in it, as it has failed: reward=b\nnot in it, as it has failed: reward=c\n"
    )
    _, again = end_jobs(tmp_path, [save_run(tmp_path / "b", TEST)], capsys)
    assert "66.7" in again
    assert "failed" not in again
    assert end_jobs(tmp_path, [], capsys, ["b"])[1] == ""  # there is nothing to show


def test_other_test_sets_get_a_table_each_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    runs = [
        save_run(tmp_path / "a", TEST),
        save_run(tmp_path / "b", predictions("sft", [True] * 3, split="val")),
        save_run(tmp_path / "pretrained", []),
    ]
    with caplog.at_level(logging.WARNING):
        folder, text = end_jobs(tmp_path, runs, capsys)
    assert {"table.md", "table_2.md"} <= {p.name for p in folder.glob("*.md")}
    assert "| 66.7" in (folder / "table.md").read_text().replace("**", "")
    assert "| 100.0" in (folder / "table_2.md").read_text().replace("**", "")
    assert "evaluated on 2 test sets" in caplog.text
    assert text.count("Recognition accuracy") == 2


def test_runs_that_contradict_each_other_do_not_crash_a_finished_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    runs = [
        save_run(tmp_path / "a", predictions("grpo", [True, False, True])),
        save_run(tmp_path / "b", predictions("grpo", [True] * 3)),
    ]
    with caplog.at_level(logging.WARNING):
        _, text = end_jobs(tmp_path, runs, capsys)
    assert text == ""
    assert "no table:" in caplog.text
    assert "'grpo' results differ" in caplog.text


def test_a_job_that_is_queued_again_is_one_and_other_ranks_add_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = save_run(tmp_path / "a", TEST)
    folder, _ = end_jobs(tmp_path, [run, run], capsys)
    assert (folder / "runs.jsonl").read_text() == f'"{run.folder}"\n'
    monkeypatch.setenv("RANK", "1")
    again, text = end_jobs(tmp_path, [save_run(tmp_path / "b", TEST)], capsys)
    assert again == folder
    assert text == ""
    assert (folder / "runs.jsonl").read_text() == f'"{run.folder}"\n'


def test_whoever_ends_last_writes_the_table_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = save_run(tmp_path / "a", TEST)
    folder, _ = end_jobs(tmp_path, [first], capsys)
    right = predictions("sft", [True] * 3)
    other = save_run(tmp_path / "b", right, choices={"reward": "quality"}, seed=1)
    table = AblationTable()  # in another job's process, after the one that has submitted both
    table.folder, table.form = folder, "accuracy"
    job = JobReturn()
    job.status, job.cfg = JobStatus.COMPLETED, OmegaConf.create({"folder": str(other.folder)})
    with (folder / "runs.jsonl").open("a") as file:
        file.write('"/cut sho')  # by a node that died
    table.on_job_end(OmegaConf.create({"method": {"phases": ["sft"]}}), job)
    assert (folder / "runs.jsonl").read_text() == f'"{first.folder}"\n"{other.folder}"\n'
    written = (folder / "table.md").read_text()
    assert "66.7" in written
    assert "100.0" in written


def test_a_list_of_runs_that_somebody_has_edited_is_told_by_line(tmp_path: Path) -> None:
    sweep = AblationTable()
    sweep.folder = tmp_path
    (tmp_path / "runs.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 1: is {}, need text"):
        sweep._write()
