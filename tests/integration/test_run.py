import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForImageTextToText
from transformers.utils import logging

from repic import run
from repic.metrics.caption_files import read_predictions
from repic.page.run_page import run_tables
from repic.tables.runs import read_metrics, read_run
from repic.tables.test_set import fingerprints
from tests import forked
from tests.integration.small import FEW, rows_of, start, summary_of

ROOT = Path(__file__).parents[2]


def test_a_run_leaves_everything_a_reader_needs(finished: Path) -> None:
    files = {path.name for path in finished.iterdir()}
    assert files >= {"config.yaml", "environment.json", "metrics.jsonl", "predictions.jsonl"}
    assert files >= {"summary.json", "checkpoints", "run.log", "csv", "report.html"}
    run = read_run(finished)
    assert list(run.metrics) == ["base", "name_everybody", "sft", "grpo"]
    assert set(run.metrics["grpo"]) == {"1", "2", "all"}
    assert run.metrics["name_everybody"]["2"]["recall"] == 100
    assert [row.phase for row in read_metrics(finished)] == ["sft", "sft", "grpo", "grpo"]
    predictions = read_predictions(finished)
    assert len(predictions) == 4 * 2 * 2  # models × counts × scenes
    # One scene is captioned by every model, and its id is no other scene's.
    by_id = {p.id: [q.phase for q in predictions if q.id == p.id] for p in predictions}
    assert set(map(tuple, by_id.values())) == {("base", "name_everybody", "sft", "grpo")}
    assert all(p.rewards.keys() == {"letters"} for p in predictions)
    # By RePIC's protocol nobody who names everybody is ever wrong.
    assert run.metrics["name_everybody"]["all"]["paper_f1"] == 100
    assert run.metrics["name_everybody"]["all"]["f1"] < 100
    # What the summary says of the test set is what its captions say.
    assert run.test_set.settings["phase.evaluate.split"] == "test"
    assert run.test_set.settings["metrics.counts"] == [1, 2]
    assert fingerprints(predictions[:4]) == (run.test_set.scenes, run.test_set.prompts)
    AutoModelForImageTextToText.from_pretrained(finished / "checkpoints" / "grpo")


def test_numbers_of_reinforcement_are_logged_under_their_names(finished: Path) -> None:
    row = rows_of(finished)[-1]
    assert row["grpo/reward/total"] == row["grpo/reward/letters"] > 0
    assert row["grpo/kl"] >= 0
    assert row["grpo/clip_frac"] == 0  # on-policy
    assert row["grpo/sampler_gap"] < 1e-4  # what samples is what is trained
    assert row["grpo/length"] > 0
    assert row["iteration"] == 2


def test_without_a_reward_there_is_no_reinforcement(model: Path, tmp_path: Path) -> None:
    summary = summary_of(start(model, tmp_path, "reward=none"))
    assert [phase["phase"] for phase in summary["phases"]] == ["base", "sft"]
    assert list(summary["metrics"]) == ["base", "name_everybody", "sft"]


def test_a_single_run_ends_with_its_table_and_the_place_of_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = start(tmp_path / "nowhere", tmp_path, "method=name_everybody")
    assert list(summary_of(folder)["metrics"]) == ["name_everybody"]  # which needs no model
    capsys.readouterr()
    run.show_tables(folder)
    shown = capsys.readouterr().out
    assert shown.count("names everybody") == 1  # in one table; the page has the others
    tables = len(run_tables(read_run(folder)))
    place = f"scenes, captions and curves, and {tables - 1} more tables: {folder / 'report.html'}"
    assert shown.splitlines()[-1] == place


def test_a_run_shows_no_bars_but_its_own_and_those_of_downloads(tmp_path: Path) -> None:
    logging.enable_progress_bar()
    start(tmp_path / "nowhere", tmp_path, "method=name_everybody")
    assert not logging.is_progress_bar_enabled()
    assert not are_progress_bars_disabled()


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(
    model: Path, tmp_path: Path, finished: Path
) -> None:
    again = start(model, tmp_path / "again", "reward=combined")
    assert rows_of(again) == rows_of(finished)
    assert summary_of(again)["metrics"] == summary_of(finished)["metrics"]
    other = start(model, tmp_path / "other", "seed=1")
    assert rows_of(other) != rows_of(finished)


def test_a_finished_run_is_not_done_again_and_fresh_starts_anew(
    model: Path, tmp_path: Path
) -> None:
    first = start(model, tmp_path, "method=sft")
    written = (first / "summary.json").stat().st_mtime_ns
    assert start(model, tmp_path, "method=sft") == first
    assert (first / "summary.json").stat().st_mtime_ns == written
    fresh = start(model, tmp_path, "method=sft", "fresh=true")
    assert fresh.name == "seed_0-2"
    assert start(model, tmp_path, "method=sft") == fresh  # the newest is what goes on
    assert rows_of(fresh) == rows_of(first)


def test_a_fresh_run_asks_its_judges_anew(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[str] = []
    monkeypatch.setattr(run, "run_phases", lambda cfg, *_, **__: caches.append(cfg.judge.cache))
    judged = ("judge=local", "judge.endpoint.model=mine", "method=zero_shot")
    for told in ((), ("fresh=true",)):
        folder = start(model, tmp_path, *judged, *told)
        # A later command without `fresh` goes on with it, so its settings are the same.
        assert f"cache: {tmp_path}/cache/judge.sqlite" in (folder / "config.yaml").read_text()
    assert folder.name == "seed_0-2"
    assert caches == [f"{path}/cache/judge.sqlite" for path in (tmp_path, folder)]


def test_paths_are_those_of_the_command_where_jobs_have_folders_of_their_own(
    model: Path, tmp_path: Path, main: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ck").symlink_to(model)
    small = ("debug=fast", "metrics.counts=[1]", "phase.evaluate.per_count=1")
    command = ("+experiment=evaluate", "model.path=ck", "outputs=out", "hydra.job.chdir=true")
    status, _, complaint = main(*command, *small)
    assert status == 0, complaint
    assert [file.parent for file in tmp_path.rglob("captions")] == [tmp_path / "out" / "cache"]


def test_a_run_that_comes_to_the_same_is_not_done_again(model: Path, tmp_path: Path) -> None:
    """The default in words, as sweeps say it, is no other run than the one without them."""
    first = start(model, tmp_path / "a", "method=name_everybody", folder=tmp_path / "plain/seed_0")
    told = ("method=name_everybody", "kl=default", "phase.sft.iterations=2")
    asked = tmp_path / "kl-default" / "seed_0"
    asked.mkdir(parents=True)  # as Hydra does before a job
    assert start(model, tmp_path / "a", *told, folder=asked) == first
    assert not asked.parent.exists()
    other = start(model, tmp_path / "a", *told, "phase.evaluate.seed=8", folder=asked)
    assert other == asked
    again = start(model, tmp_path / "a", *told, "fresh=true", folder=tmp_path / "third/seed_0")
    assert again == tmp_path / "third" / "seed_0"
    # What has begun goes on, whoever else has done the same: here a fresh run, interrupted.
    begun = tmp_path / "fourth" / "seed_0"
    begun.mkdir(parents=True)
    shutil.copy(first / "config.yaml", begun)
    assert start(model, tmp_path / "a", "method=name_everybody", folder=begun) == begun
    assert (begun / "report.html").exists()


def test_validation_is_logged_while_training(model: Path, tmp_path: Path) -> None:
    folder = start(model, tmp_path, "method=sft", "phase.sft.val_every=1")
    values = [row for row in rows_of(folder) if "val/1/accuracy" in row]
    assert [row["iteration"] for row in values] == [1, 2]


def test_tensorboard_has_a_curve_for_every_number_of_every_phase(
    model: Path, tmp_path: Path
) -> None:
    sizes = ("metrics.counts=[1]", "phase.sft.val_every=1", "phase.grpo.val_every=1")
    folder = start(model, tmp_path, "logger=tensorboard", *sizes)
    (events,) = (folder / "tensorboard").glob("version_0/events.*")
    reader = EventAccumulator(str(events)).Reload()
    curves = {tag: reader.Scalars(tag) for tag in reader.Tags()["scalars"]}
    assert {tuple(point.step for point in curve) for curve in curves.values()} == {(1, 2)}
    logged = [row for row in rows_of(folder) if "grpo/kl" in row]
    kl = [point.value for point in curves["grpo/kl"]]
    assert kl == pytest.approx([row["grpo/kl"] for row in logged])
    shared = {"val/1/accuracy", "val/all/cider", "time/iteration_s"}
    assert {f"{phase}/{key}" for phase in ("sft", "grpo") for key in shared} <= set(curves)


def test_several_updates_of_one_iteration_leave_the_policy_that_sampled(
    model: Path, tmp_path: Path
) -> None:
    speed = "phase.grpo.optimizer.lr=0.1"
    rows = rows_of(start(model, tmp_path, "phase.grpo.num_updates=3", speed))
    assert max(row.get("grpo/clip_frac", 0) for row in rows) > 0


def test_help_answers_without_heavy_imports(tmp_path: Path) -> None:
    program = (
        "import sys, runpy, atexit; sys.argv = ['repic', '--help']\n"
        "heavy = ('torch', 'transformers', 'pytorch_lightning', 'numpy', 'PIL', 'wandb')\n"
        "atexit.register(lambda: print('HEAVY', [m for m in heavy if m in sys.modules]))\n"
        "from repic.run import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "HEAVY []" in result.stdout
    assert "+experiment=quickstart" in result.stdout


def test_module_and_console_script_work_from_any_directory(tmp_path: Path) -> None:
    for program in (["-m", "repic.run"], ["-c", "from repic.run import main; main()"]):
        result = subprocess.run(
            [sys.executable, *program, "+experiment=multi_concept_3", "--cfg", "job"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert "name: multi_concept_3" in result.stdout


@pytest.mark.slow
def test_a_multirun_ends_with_its_table(model: Path, tmp_path: Path) -> None:
    command = ["-m", "repic.run", "-m", "debug=fast", "reward=none,combined"]
    command += ["seed=0,1", "metrics.counts=[1]", f"model.path={model}", f"outputs={tmp_path}"]
    command.append(FEW)
    both = [*command, "hydra/launcher=local", "hydra.launcher.n_jobs=2"]
    done = forked.run(both, tmp_path / "both")
    assert done.returncode == 0, done.stderr
    (table,) = (tmp_path / "run" / "sweeps").glob("*/table.md")
    assert "+ RL (reward=combined) | 2" in table.read_text()
    assert "+ RL" in done.stdout
    assert "scenes, captions and curves" not in done.stdout  # of one job; this is the sweep's table
    assert {path.suffix for path in table.parent.iterdir()} >= {".md", ".csv", ".tex"}
    # One job after another, as it is without a launcher, finds the runs and makes the same table.
    table_of_both = table.read_text()
    again = forked.run(command, tmp_path / "again")
    assert again.stdout.count("already done") == 4
    assert table.read_text() == table_of_both
    jobs = (table.parent / "runs.jsonl").read_text().splitlines()
    assert len({json.loads(job) for job in jobs}) == 4


def test_a_multirun_with_a_failing_job_ends_with_the_table_of_the_others(
    tmp_path: Path, main: Any
) -> None:
    few = ("debug=fast", "metrics.counts=[1]", "phase.evaluate.per_count=1", FEW)
    command = ("method=zero_shot,name_everybody", "model.path=/nowhere", f"outputs={tmp_path}")
    status, said, complaint = main("-m", *few, *command)
    assert status == 1
    assert "names everybody " in said
    assert said.splitlines()[-1] == "not in it, as it has failed: method=zero_shot"
    assert complaint.splitlines()[-1] == "repic: model.path: there is no directory /nowhere"


@pytest.mark.slow
def test_a_command_that_is_given_twice_at_once_is_done_once(model: Path, tmp_path: Path) -> None:
    command = ["-m", "repic.run", "debug=fast", "metrics.counts=[1]", FEW]
    command += [f"model.path={model}", f"outputs={tmp_path}"]
    both = [forked.Command(command, tmp_path / f"said_{number}") for number in range(2)]
    said = ["".join(process.communicate()) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("already done" in text for text in said) == [False, True]
    (folder,) = (tmp_path / "run").glob("*/seed_0")
    keys = [(row["phase"], row.get("iteration")) for row in rows_of(folder)]
    assert keys == list(dict.fromkeys(keys))  # no row of both
    waited = next(text for text in said if "already done" in text)
    assert "waiting for it" in waited
    assert "grpo" not in waited
