"""What people get wrong is told in one line that names the place and the mend; nothing is lost."""

import errno
import math
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from repic import distributed
from repic.errors import FAULT
from repic.phases.evaluate import Evaluation
from repic.phases.monitor import Monitor
from repic.run import guarded
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
    """The message, beside which nothing is said."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("repic: ")
    return lines[0]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("concepts.counts=[6]", "concepts.counts[0]: 6 is not a whole number from 1 to 5"),
        ("reward.rubric.weights.recognition=high", "weights.recognition: 'high' is not a number"),
        ("phase.evaluate.split=tset", "phase.evaluate.split: 'tset' is not val or test"),
        ("outputs=", "outputs: '' is not text that is not empty"),
        ("phase.grpo.group_size=1", "phase.grpo.group_size"),
        ("phase.grpo=abc", "phase.grpo: "),
        ("~phase.grpo._target_", "phase.grpo: has no _target_"),
        ("phase.sft.iteratoins=3", "phase.sft.iteratoins is neither a key nor a group"),
        ("reward=recogniton", "no 'recogniton', only balcaprl, balcaprl_judge, clips, combined"),
        ("reward=recogniton", "did you mean recognition?"),
        ("+studdy=kl", "did you mean +study=kl?"),
        ("model.path=/no/such/folder", "/no/such/folder"),
        ("phase.sft.micro_batch=3", "not a multiple of micro_batch 3"),
        ("model.dtype=float31", "model.dtype"),
        ("trainer=ddp", "ddp is for several processes; start them with torchrun"),
        ("data.reward_corpus=null", "data.reward_corpus: null leaves"),
    ],
)
def test_a_wrong_value_is_named(command, tmp_path: Path, override: str, said: str) -> None:
    needs_rl = override.lstrip("~").startswith(("concepts", "phase.grpo", "loss"))
    code, text = command(*FAST, override, "method=repic" if needs_rl else "method=sft")
    assert code == 1
    assert said in last_line(text)
    assert not list((tmp_path / "outputs").rglob("*.resume.pt")), "told only after some training"


def test_an_interruption_that_code_raises_is_told_in_a_line(capsys: Any) -> None:
    def job() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        guarded(job, "repic", config="config", kept="all is saved", after="go on")
    assert end.value.code == 130
    assert capsys.readouterr().err == "repic: interrupted from within; all is saved; go on\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [a\n", 'experiment/x.yaml", line 3'),  # no YAML
        (
            "name: x\nphase: {grpo: {grad_clip: -1}}\n",
            "phase.grpo.grad_clip: -1 is not a number",
        ),
        (
            "name: x\nphase: {grpo: {grup_size: 4}}\n",
            "experiment/x.yaml: phase.grpo.grup_size is not a key of the configuration; did you"
            " mean phase.grpo.group_size?",
        ),
        (
            "name: x\nphase: {pretrain: {dataset: {stages: [{untl: 1.0, groups: [{who: 1}]}]}}}\n",
            "[0].untl: there is no such key; did you mean phase.pretrain.dataset.stages[0].until",
        ),
        ("name: x\nmethod: {phases: [sft, sft]}\n", '["sft", "sft"] is not a list of names, each'),
        ("name: x\nconcepts: {counts: {1: 1.0}}\n", "experiment/x.yaml: a list is given for a map"),
        ("name: x\nphase: {sft: {iterations: %s}}\n" % ("9" * 5000), "experiment/x.yaml: not YAML"),
        ("name: x\nphase: %s\n" % ("[" * 3000), "experiment/x.yaml: not YAML (nested too deeply)"),
        ("name: \udcff\n", "experiment/x.yaml: not UTF-8 text (byte 26); save"),
        ("\n\nabc", "experiment/x.yaml: abc is not a key of the configuration"),
    ],
)
def test_mistakes_in_an_experiment_file_are_named(
    command, tmp_path: Path, text: str, said: str
) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    content = f"# @package _global_\n{text}"
    (folder / "x.yaml").write_text(content, encoding="utf-8", errors="surrogateescape")
    code, told = command("--config-dir", str(folder.parent), "+experiment=x", *SMALL)
    assert code == 1
    assert said in last_line(told)
    assert not list((tmp_path / "outputs").rglob("summary.json"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("kl=null", "kl: null is not one of adaptive, default, high, low, none, straight_through"),
        ("judge=[[1]]", "judge: [[1]] is not one of local, none, openai"),
        ("kl=[low,high]", "kl=[low,high]: takes one option; to try each of them: -m kl=low,high"),
        ("kl=0.1", "kl: 0.1 is not one of adaptive, default"),
        ("+kl.coeff=1", "kl.coeff: nothing reads it; did you mean kl.coef?"),
        ("+phase.sfft.iterations=4", 'phase.sfft: {"iterations": 4} is not a part'),
        ("+debug.overrides.kl.coeff=1", "kl.coeff: nothing reads it; did you mean kl.coef?"),
        ("~phase.pretrain", "optimizer: refers to phase.pretrain.optimizer, which is not there"),
        (
            "metrics.cuonts=[1]",
            "metrics.cuonts is neither a key nor a group; did you mean metrics.c",
        ),
        ("method.phases=[sfft]", "method.phases: there is no phase 'sfft'; did you mean sft?"),
        ("method.evaluated=[bas]", "method.evaluated: 'bas' is not one of"),
        ("debug.overrides=-0.5", "debug.overrides: -0.5 is not a mapping"),
        ("debug.overrides=[a]", "debug.overrides: a list is given for a mapping"),
        ("reward.own={limit:1}", "reward.own: reward function 'limit' is no dotted path, such as"),
        ("seed=1,2", "seed=1,2: to try each of them, add -m"),
        ("seed", "seed: is no key=value"),
        ("outputs=/dev/null/x", "choose another folder with outputs=<folder>"),
        ("trainer.options.accelerator=cup", "'cup' is not cpu or gpu; did you mean cpu?"),
        ("phase.grpo.prompts=1e3", "phase.grpo.prompts: 1000.0 is not a whole number from 1 to"),
    ],
)
def test_the_nearest_right_key_or_value_is_named(command, override: str, said: str) -> None:
    code, text = command(*FAST, override)
    assert code == 1
    assert said in last_line(text)


@pytest.mark.parametrize(
    ("overrides", "ranks", "said"),
    [
        (
            ["phase.sft.batch_size=6"],
            3,
            "phase.grpo.prompts: 2 is not a multiple",
        ),
        (
            ["phase.grpo.prompts=3"],
            3,
            "phase.sft.batch_size: 4 is not a multiple",
        ),
        (
            ["data.val=null", "phase.grpo.val_every=1"],
            1,
            "phase.grpo.val_every=1: data.val: this data has no such split",
        ),
        (["data.train=null"], 1, "data.train: this data has no such split"),
        (["phase.grpo.group_size=1"], 1, "phase.grpo.group_size"),
    ],
)
def test_what_depends_on_ranks_and_data_is_said_before_the_first_phase(
    command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    ranks: int,
    said: str,
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: ranks)
    code, text = command(*FAST, "method=repic", *overrides)
    assert code == 1
    assert said in last_line(text)
    assert not (tmp_path / "outputs" / "cache").exists()


def log_of(text: str) -> str:
    """What a message's log has."""
    (path,) = re.findall(r"the traceback is in ([^;\n]+)", text)
    return Path(path).read_text()


def test_a_fault_of_ours_is_told_apart_and_kept_in_the_log(
    command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is no mistake of the user's: another status, a line that says so, and no traceback."""

    def check(self: Evaluation, context: Any) -> None:
        raise KeyError("b")

    monkeypatch.setattr(Evaluation, "check", check)
    code, text = command(*SMALL)
    assert code == FAULT == 70
    said = last_line(text)
    assert said.startswith("repic: KeyError: 'b' (")  # here, where a test is nobody's library
    assert "test_bad_input_run.py, line" in said
    assert "KeyError: 'b'" in log_of(said)
    assert "Traceback" in log_of(said)
    # In the package's own code it is the package's fault; an operation's failure is one, too.
    monkeypatch.undo()
    for module, name in (("repic.phases.pipeline", "describe_test_set"), ("repic.run", "begin")):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{name}", math.sqrt if name == "begin" else None)
            code, text = command(*SMALL, "name=again")
        assert code == FAULT, text
        said = last_line(text)
        assert said.startswith("repic: this is a fault of repic, not of what it was given: TypeE")
        assert f"{module.replace('.', '/')}.py, line" in said
        assert (
            "please report it with that file and the command: python -m repic.run debug=fast"
            in said
        )
        assert "Traceback" in log_of(said)


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
    def evaluate(self: Evaluation, *args: Any, **kwargs: Any) -> Any:
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
