"""An interrupted run, started again with the same command, ends as if nothing had happened."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from repic import files
from repic.captioners.model import ModelCaptioner
from repic.phases.grpo import GrpoModule
from repic.phases.monitor import Monitor
from repic.signals import Stopped
from tests import forked
from tests.integration.small import FEW, rows_of, start, summary_of

SIZES = ("phase.sft.iterations=4", "phase.grpo.iterations=4", "phase.sft.checkpoint_every=2")
SIZES += ("phase.grpo.checkpoint_every=2", "phase.grpo.optimizer.lr=0.01")


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def equal_runs(one: Path, two: Path) -> None:
    assert rows_of(one) == rows_of(two)
    summaries = summary_of(one), summary_of(two)
    assert summaries[0]["metrics"] == summaries[1]["metrics"]
    prints = [[phase["fingerprint"] for phase in s["phases"]] for s in summaries]
    assert prints[0] == prints[1]
    assert weights(one / "checkpoints" / "grpo") == weights(two / "checkpoints" / "grpo")
    assert (one / "predictions.jsonl").read_text() == (two / "predictions.jsonl").read_text()


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = start(model, tmp_path_factory.mktemp("whole"), *SIZES)
    # Otherwise the comparisons below would say nothing.
    fingerprints = [phase["fingerprint"] for phase in summary_of(folder)["phases"]]
    assert len(set(fingerprints)) == 3
    assert rows_of(folder)[-1]["grpo/kl"] > 0
    return folder


def interrupt_at(phase: str, iteration: int) -> Callable[..., None]:
    original = Monitor.log

    def log(self: Monitor, metrics: dict[str, float], done: int) -> None:
        original(self, metrics, done)
        if (self.phase, done) == (phase, iteration):
            raise Interrupted

    return log


@pytest.mark.parametrize(
    ("phase", "iteration"),
    [
        ("sft", 3),
        ("grpo", 3),
        # before the first checkpoint, at one, and when all is computed but nothing exported
        *(
            pytest.param(*cut, marks=pytest.mark.slow)
            for cut in (("sft", 1), ("grpo", 2), ("grpo", 4))
        ),
    ],
)
def test_training_goes_on_where_it_was(
    model: Path,
    tmp_path: Path,
    uninterrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
    iteration: int,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "log", interrupt_at(phase, iteration))
        with pytest.raises(Interrupted):
            start(model, tmp_path, *SIZES)
    torch.manual_seed(12345)  # nothing may hang on the state of the process
    folder = start(model, tmp_path, *SIZES)
    equal_runs(folder, uninterrupted)
    iterations = [row["iteration"] for row in rows_of(folder) if row["phase"] == phase]
    assert iterations == [1, 2, 3, 4]  # those after the checkpoint are not there twice


def test_a_model_without_a_mark_of_its_own_is_not_done(
    model: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = files.mark_done

    def mark_done(folder: Path, record: Mapping[str, object]) -> None:
        if folder.name == "grpo":
            raise Interrupted
        original(folder, record)

    with monkeypatch.context() as patch:
        patch.setattr(files, "mark_done", mark_done)
        with pytest.raises(Interrupted):
            start(model, tmp_path, *SIZES)
    assert (tmp_path / "run" / "seed_0" / "checkpoints" / "grpo" / "model.safetensors").exists()
    folder = start(model, tmp_path, *SIZES)
    equal_runs(folder, uninterrupted)
    assert [phase["phase"] for phase in summary_of(folder)["phases"]] == ["base", "sft", "grpo"]


def test_another_phase_s_model_is_not_taken_for_a_finished_one(
    model: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """Its mark is true of what lies beside it, and not of what is asked for."""
    outputs = Path(shutil.copytree(uninterrupted.parents[1], tmp_path / "out"))
    folder = outputs / uninterrupted.relative_to(uninterrupted.parents[1])
    for name in ("summary.json", "report.html"):
        (folder / name).unlink()
    (sft,) = (mark.parent for mark in (outputs / "cache" / "sft").glob("*/done.json"))
    grpo = folder / "checkpoints" / "grpo"
    shutil.rmtree(grpo)
    shutil.copytree(sft, grpo)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace(str(uninterrupted.parents[1]), str(outputs)))
    equal_runs(start(model, outputs, *SIZES), uninterrupted)
    assert (folder / "checkpoints" / "grpo.set_aside" / "model.safetensors").exists()


def test_results_whose_files_have_changed_before_the_page_are_computed_anew(
    model: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(model, tmp_path / "model"))
    sizes = ("method=zero_shot", "metrics.counts=[1]")
    folder = start(own, tmp_path, *sizes)
    file = folder / "summary.json"
    file.write_text(file.read_text().replace('"split": "test"', '"split": "earlier"'))
    for is_changed, split in ((False, "earlier"), (True, "test")):
        (folder / "report.html").unlink()
        if is_changed:
            os.utime(own / "model.safetensors", (1, 1))
        start(own, tmp_path, *sizes)
        assert summary_of(folder)["split"] == split


def test_evaluation_goes_on_where_it_was(
    model: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, captioned = ModelCaptioner.write, []

    def write(self: ModelCaptioner, examples):
        if len(captioned) == 3:
            raise Interrupted
        captioned.append(examples[0].id)
        return original(self, examples)

    with monkeypatch.context() as patch:
        patch.setattr(ModelCaptioner, "write", write)
        with pytest.raises(Interrupted):
            start(model, tmp_path, *SIZES)
    again = []
    monkeypatch.setattr(
        ModelCaptioner,
        "write",
        lambda self, examples: again.append(examples[0].id) or original(self, examples),
    )
    equal_runs(start(model, tmp_path, *SIZES), uninterrupted)
    assert len(captioned) + len(again) == 3 * 2  # base, sft, grpo × two counts: none twice


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_several_updates_an_iteration_resume_as_well(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    sizes = (*SIZES, "phase.grpo.num_updates=2", "phase.grpo.micro_batch_tokens=100")
    if dropout:
        sizes += (f"model.lora={{r: 4, alpha: 8, dropout: {dropout}}}",)
    whole = start(model, tmp_path / "whole", *sizes)
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "log", interrupt_at("grpo", 3))
        with pytest.raises(Interrupted):
            start(model, tmp_path / "cut", *sizes)
    equal_runs(start(model, tmp_path / "cut", *sizes), whole)


@pytest.mark.slow
def test_what_changes_on_the_way_resumes_as_well(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The KL's coefficient, a reference that iteration 2 has renewed, and replaced prompts."""
    sizes = (*SIZES, "phase.grpo.iterations=5", "phase.grpo.checkpoint_every=3", "kl=adaptive")
    sizes += ("kl.refresh_every=2", "kl.target=0.001", "phase.grpo.resample_attempts=1")
    sizes += ("phase.grpo.group_size=3", "phase.grpo.prompts=3")
    whole = start(model, tmp_path / "whole", *sizes)
    rows = [row for row in rows_of(whole) if row["phase"] == "grpo"]
    assert len({row["grpo/kl_coef"] for row in rows}) == 5
    assert rows[2]["grpo/kl"] == 0 < rows[3]["grpo/kl"]
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "log", interrupt_at("grpo", 4))
        with pytest.raises(Interrupted):
            start(model, tmp_path / "cut", *sizes)
    equal_runs(start(model, tmp_path / "cut", *sizes), whole)


def stopped_by(number: int, patch: pytest.MonkeyPatch, place: type, method: str, at: int) -> None:
    """Send this process a signal when RL is at a method in a certain iteration."""
    original = getattr(place, method)

    def patched(self: Any, *arguments: Any) -> Any:
        result = original(self, *arguments)
        if isinstance(self, GrpoModule) and self.iteration == at:
            signal.raise_signal(number)
        if isinstance(self, Monitor) and self.phase == "grpo" and arguments[1] == at:
            signal.raise_signal(number)
        return result

    patch.setattr(place, method, patched)


@pytest.mark.parametrize(
    ("number", "place", "method", "at", "saved"),
    [
        (signal.SIGINT, GrpoModule, "credit", 3, 3),  # before the step: iteration 3 is whole
        (signal.SIGTERM, GrpoModule, "credit", 2, 3),  # finishes the iteration
        # after the step, and before its numbers
        pytest.param(signal.SIGINT, GrpoModule, "diagnostics", 3, 2, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_last_whole_iteration(
    model: Path,
    tmp_path: Path,
    uninterrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    place: type,
    method: str,
    at: int,
    saved: int,
) -> None:
    with monkeypatch.context() as patch:
        stopped_by(number, patch, place, method, at)
        with handled(), pytest.raises(Stopped) as stop:
            start(model, tmp_path, *SIZES)
    assert stop.value.saved == f"grpo is saved up to iteration {saved} of 4"
    folder = start(model, tmp_path, *SIZES)
    equal_runs(folder, uninterrupted)
    assert not list(tmp_path.rglob("*.resume.pt*"))


@contextmanager
def handled() -> Iterator[None]:
    """Whoever runs the tests in the background may ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_validation_that_was_cut_short_is_made_good(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (*SIZES, "phase.grpo.val_every=3", "phase.grpo.iterations=3")
    whole = start(model, tmp_path / "whole", *sizes)
    assert any("val/1/accuracy" in row for row in rows_of(whole))
    with monkeypatch.context() as patch:
        stopped_by(signal.SIGTERM, patch, Monitor, "log", 3)
        with pytest.raises(Stopped):
            start(model, tmp_path / "cut", *sizes)
    equal_runs(start(model, tmp_path / "cut", *sizes), whole)


def test_in_a_slurm_job_nothing_of_the_working_directory_is_loaded(
    model: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("hpc_ckpt_1.ckpt").write_text("what another run has left")
    with monkeypatch.context() as patch:
        stopped_by(signal.SIGUSR1, patch, GrpoModule, "credit", 2)
        with pytest.raises(Stopped):
            start(model, tmp_path, *SIZES)
    assert [path.name for path in Path().iterdir()] == ["hpc_ckpt_1.ckpt"]
    equal_runs(start(model, tmp_path, *SIZES), uninterrupted)


@pytest.mark.slow
def test_signals_leave_a_folder_that_goes_on(model: Path, tmp_path: Path) -> None:
    command = ["-m", "repic.run", "method=sft", "debug=fast"]
    command += ["phase.sft.iterations=80", "metrics.counts=[1]", "phase.sft.schedule.final=1.0"]
    command += ["phase.sft.checkpoint_every=1000"]  # what is saved is saved because of a signal
    command += [f"model.path={model}", f"outputs={tmp_path}", FEW]

    srun = tmp_path / "bin" / "srun"  # as on a cluster, of which Lightning would say a word
    srun.parent.mkdir()
    srun.touch(mode=0o755)
    where = {"PATH": f"{srun.parent}{os.pathsep}{os.environ['PATH']}"}

    def lines() -> int:
        return sum(path.read_bytes().count(b"\n") for path in tmp_path.rglob("*.metrics.jsonl"))

    reached = 0
    for number, code, why in (
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGUSR1, 143, "ended by SIGUSR1"),
        (signal.SIGINT, 130, "interrupted"),
    ):
        process = forked.Command(command, tmp_path / f"said_{number}", environment=where)
        deadline = time.monotonic() + 120
        while lines() < reached + 3:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(process.pid, number)
        sent = time.monotonic()
        said, complaint = process.communicate(timeout=30)
        assert time.monotonic() - sent < 15
        assert process.returncode == code
        line = rf"repic: {why}; sft is saved up to iteration (\d+) of 80; the same command goes on"
        found = re.fullmatch(rf"{line} from there\n", complaint)
        assert found, complaint
        if reached:
            assert f"goes on after iteration {reached} of 80" in said
        assert int(found[1]) > reached
        reached = int(found[1])
    done = forked.run(command, tmp_path / "said")
    assert done.returncode == 0, done.stderr
    assert f"goes on after iteration {reached} of 80" in done.stdout
    rows = [row["iteration"] for row in rows_of(next(tmp_path.rglob("seed_0")))]
    assert rows == list(range(1, 81))
