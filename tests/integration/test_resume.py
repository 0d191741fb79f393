"""An interrupted run, started again with the same command, ends as if nothing had happened."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch

from repic import files
from repic.captioners.model import ModelCaptioner
from repic.phases.monitor import Monitor
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
def test_several_updates_an_iteration_resume_as_well(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (*SIZES, "phase.grpo.num_updates=2")
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


@pytest.mark.slow
def test_ctrl_c_leaves_a_folder_that_goes_on(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "repic.run", "method=sft", "debug=fast"]
    command += ["phase.sft.iterations=80", "metrics.counts=[1]", "phase.sft.schedule.final=1.0"]
    command += [f"model.path={model}", f"outputs={tmp_path}", FEW]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command,
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may ignore Ctrl-C, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("cache/sft/*.resume.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    line = r"repic: interrupted; sft is saved up to iteration \d+ of 80; the same command goes on"
    assert re.fullmatch(rf"{line} from there\n", said), said
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "goes on after iteration" in done.stdout
