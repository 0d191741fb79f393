"""What people get wrong is told in one line that names the place and the mend; nothing is lost."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from repic.phases.evaluate import Evaluation
from repic.phases.monitor import Monitor
from tests.integration.small import FEW, rows_of, start, summary_of

FAST = ("debug=fast", "debug.traceback=false", FEW)
SMALL = (*FAST, "metrics.counts=[1]", "method=sft")


@pytest.fixture
def command(main: Callable[..., Any], model: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run the command line in this process; return its exit status and what it says."""

    def call(*arguments: str) -> tuple[Any, str]:
        given = list(arguments)
        if not any(argument.startswith("model.path=") for argument in arguments):
            given.append(f"model.path={model}")
        if not any(argument.startswith("outputs=") for argument in arguments):
            given.append(f"outputs={tmp_path / 'outputs'}")
        code, _, complaint = main(*given)
        return code, complaint

    return call


def last_line(text: str) -> str:
    """The message; Hydra says before it which job it was."""
    lines = [line for line in text.splitlines() if line.startswith("repic: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("concepts.counts=[6]", "concepts.counts[0]: 6 is not a whole number from 1 to 5"),
        ("phase.sft.counts=[0]", "phase.sft.counts[0]: 0 is not a whole number from 1"),
        ("metrics.counts=[7]", "metrics.counts[0]: 7 is not a whole number from 1 to 5"),
        ("reward.rubric.weights.recognition=high", "weights.recognition: 'high' is not a number"),
        ("reward.rubric.weights.recognition=nan", "weights.recognition: NaN is not a number"),
        ("phase.evaluate.split=tset", "phase.evaluate.split: 'tset' is not val or test"),
        ("outputs=", "outputs: '' is not text that is not empty"),
        ("name=../../x", "name: '../../x' is not the name of a folder"),
        ("phase.grpo.group_size=1", "phase.grpo.group_size"),
        ("phase.sft.iteratoins=3", "phase.sft.iteratoins is neither a key nor a group"),
        ("reward=recogniton", "no 'recogniton', only balcaprl, balcaprl_judge, combined"),
        ("reward=recogniton", "did you mean recognition?"),
        ("+studdy=kl", "did you mean +study=kl?"),
        ("model.path=/no/such/folder", "/no/such/folder"),
        ("phase.sft.micro_batch=3", "not a multiple of micro_batch 3"),
        ("loss.aggregation=mean", "aggregation: 'mean' is not sequence_mean, token_mean or"),
        ("model.dtype=float31", "model.dtype"),
        ("trainer=ddp", "ddp is for several processes; start them with torchrun"),
        ("data.reward_corpus=null", "data.reward_corpus: null leaves"),
    ],
)
def test_a_wrong_value_is_named(command, tmp_path: Path, override: str, said: str) -> None:
    needs_rl = override.startswith(("concepts", "phase.grpo", "loss"))
    code, text = command(*FAST, override, "method=repic" if needs_rl else "method=sft")
    assert code == 1
    assert said in last_line(text)
    assert not list((tmp_path / "outputs").rglob("*.resume.pt")), "told only after some training"


def test_a_typo_in_an_experiment_file_is_named_with_the_likely_key(
    command,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "typo.yaml").write_text(
        "# @package _global_\nname: typo\nphase: {grpo: {grup_size: 4}}\n"
    )
    code, text = command("--config-dir", str(folder.parent), "+experiment=typo", *SMALL)
    assert code == 1
    said = last_line(text)
    assert "experiment/typo.yaml: phase.grpo.grup_size is not a key" in said
    assert "did you mean phase.grpo.group_size?" in said
    assert not list((tmp_path / "outputs").rglob("summary.json"))


def test_a_sound_experiment_file_passes(command, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "sound.yaml").write_text(
        "# @package _global_\nname: sound\nphase: {sft: {counts: [2], iterations: 1}}\n"
    )
    code, text = command("--config-dir", str(folder.parent), "+experiment=sound", *SMALL)
    assert code == 0, text


def test_a_place_that_cannot_be_written_to_is_named(
    command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    code, text = command(*SMALL, f"outputs={tmp_path / 'file'}")
    assert code == 1
    assert str(tmp_path / "file") in last_line(text)
    original = os.mkdir

    def mkdir(path: Any, *arguments: Any) -> None:
        if "forbidden" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        original(path, *arguments)

    monkeypatch.setattr(os, "mkdir", mkdir)
    code, text = command(*SMALL, f"outputs={tmp_path / 'forbidden'}")
    assert code == 1
    assert "Permission denied; choose a folder that you may write to with outputs=" in last_line(
        text
    )


def test_going_on_with_other_settings_is_refused(command, tmp_path: Path) -> None:
    code, text = command(*SMALL)
    assert code == 0, text
    (config,) = (tmp_path / "outputs").rglob("config.yaml")
    config.write_text(config.read_text().replace("warmup: 0.05", "warmup: 0.04"))
    code, text = command(*SMALL)
    assert code == 1
    assert "schedule.warmup=0.04, not 0.05" in last_line(text)
    assert "fresh=true" in text


@pytest.mark.parametrize(("iteration", "saved"), [(1, 0), (3, 2)])
def test_ctrl_c_says_what_is_saved_of_a_phase(
    command, monkeypatch: pytest.MonkeyPatch, iteration: int, saved: int
) -> None:
    def log(self: Monitor, metrics: Any, done: int) -> None:
        if done == iteration:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Monitor, "log", log)
    for _ in range(2):  # the second time no checkpoint comes before it
        code, text = command(*SMALL, "phase.sft.iterations=4", "phase.sft.checkpoint_every=2")
        assert code == 130
        assert last_line(text) == (
            f"repic: interrupted; sft is saved up to iteration {saved} of 4;"
            " the same command goes on from there"
        )


def test_a_guard_says_in_one_line_what_stopped_a_run_and_how_to_go_on(command) -> None:
    limit = "phase.grpo.guards.max_length.limit"
    given = (*FAST, "metrics.counts=[1]", "method=repic", "phase.grpo.guards.max_length.patience=1")
    code, text = command(*given, f"{limit}=0")
    assert code == 1
    said = last_line(text)
    assert said.startswith("repic: grpo was stopped after iteration 1 of 2, and is saved up to")
    assert f"{limit}=null lets it pass" in said
    # Another limit is no other run: the same folder goes on where it was.
    code, text = command(*given, f"{limit}=null")
    assert code == 0, text


@pytest.mark.parametrize(
    ("number", "ended_with", "why"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGUSR1, 143, "ended by SIGUSR1"),
    ],
)
def test_a_signal_outside_of_training_ends_a_run_at_once(
    command, monkeypatch: pytest.MonkeyPatch, number: int, ended_with: int, why: str
) -> None:
    def evaluate(self: Evaluation, name: str, captioner: Any, context: Any) -> Any:
        signal.raise_signal(number)

    monkeypatch.setattr(Evaluation, "evaluate", evaluate)
    code, text = command(*SMALL)
    assert code == ended_with
    assert f"{why}; what was finished is saved; the same" in last_line(text)


def test_a_full_disk_loses_nothing_that_was_saved(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start(model, tmp_path / "whole", "method=sft", "phase.sft.iterations=3")
    original, saved = torch.save, []

    def save(state: Any, path: Path) -> None:
        if len(saved) == 2:
            Path(path).write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed: No space left on device")
        saved.append(path)
        original(state, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(OSError, match="No space left on device"):
            start(model, tmp_path / "full", "method=sft", "phase.sft.iterations=3")
    (checkpoint,) = (tmp_path / "full" / "cache" / "sft").glob("*.resume.pt")
    assert torch.load(checkpoint, weights_only=True)["iteration"] == 2
    assert not list(checkpoint.parent.glob(".*.part"))
    folder = start(model, tmp_path / "full", "method=sft", "phase.sft.iterations=3")
    assert rows_of(folder) == rows_of(whole)
    assert summary_of(folder)["metrics"] == summary_of(whole)["metrics"]
