"""Several processes that train together: they do what one does, and end when one of them dies."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from repic.metrics.caption_files import read_predictions
from tests import forked
from tests.integration.small import FEW, rows_of, summary_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GIVEN = ("debug=fast", "metrics.counts=[1,2]", FEW, "kl=adaptive", "phase.sft.micro_batch=4")
GIVEN += ("phase.sft.iterations=10", "phase.grpo.iterations=10", "phase.grpo.checkpoint_every=3")
GIVEN += ("phase.grpo.resample_attempts=1", "phase.grpo.optimizer.lr=0.001")
GIVEN += ("reward.own=tests.integration.small.letters:1.0",)
RANKS = ("trainer=ddp", "trainer.options.accelerator=cpu", "trainer.num_workers=0")
RANKS += ("trainer.threads=1",)


def given(outputs: Path, model: Path) -> list[str]:
    return ["-m", "repic.run", *GIVEN, f"outputs={outputs}", f"model.path={model}"]


def torchrun(arguments: list[str]) -> list[str]:
    """Two ranks, as torchrun starts them: anew, where those that Slurm would start are forked."""
    program = ["-m", "torch.distributed.run", "--nproc-per-node=2"]
    return [*program, f"--master-port={forked.free_port()}", *arguments, *RANKS]


def finish(outputs: Path, model: Path, *, ranks: int) -> tuple[Path, str]:
    """Do a run to its end; return its folder and what it said."""
    arguments = [*given(outputs, model), *(RANKS if ranks > 1 else ())]
    said = outputs / "said"
    command = forked.Ranks(arguments, said, count=ranks)
    text, complaint = command.communicate()
    assert command.poll() == 0, complaint
    (summary,) = outputs.rglob("summary.json")
    return summary.parent, text


@pytest.fixture(scope="module")
def two(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    outputs = tmp_path_factory.mktemp("two")
    done = forked.run(torchrun(given(outputs, model)), outputs / "said")
    assert done.returncode == 0, done.stderr
    (summary,) = outputs.rglob("summary.json")
    return summary.parent, done.stdout


def trained(folder: Path, phase: str) -> dict[str, torch.Tensor]:
    (stage,) = (p for p in summary_of(folder)["phases"] if p["phase"] == phase)
    return load_file(Path(stage["checkpoint"]) / "model.safetensors")


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of all weights together, relative to their length."""
    one_of_all, other_of_all = (
        torch.cat([model[name].flatten().double() for name in one]) for model in (one, other)
    )
    return ((one_of_all - other_of_all).norm() / one_of_all.norm()).item()


def test_two_ranks_train_as_one_process_does_and_rank_0_alone_writes(
    model: Path, tmp_path: Path, two: tuple[Path, str]
) -> None:
    one, said = finish(tmp_path, model, ranks=1)
    for text in (said, two[1]):
        for once in ("base, 1 concept:", "finished:", "scenes, captions and curves"):
            assert text.count(once) == 1
    start = load_file(model / "model.safetensors")
    for phase in ("sft", "grpo"):
        alone, together = trained(one, phase), trained(two[0], phase)
        assert distance(alone, together) < 1e-6
        assert distance(alone, start) > 1e-3
        start = alone
    for left, right in zip(rows_of(one), rows_of(two[0]), strict=True):
        assert left.pop("phase") == right.pop("phase")
        assert left == pytest.approx(right, rel=1e-4, abs=1e-5)
    answers = [[(p.id, p.caption) for p in read_predictions(f)] for f in (one, two[0])]
    assert answers[0] == answers[1]


@pytest.fixture
def begun(model: Path, tmp_path: Path) -> Iterator[Callable[[bool], Any]]:
    """Start two ranks that have just saved RL's third iteration."""
    processes: list[Any] = []

    def begin(by_torchrun: bool) -> Any:
        arguments = given(tmp_path, model)
        if by_torchrun:
            process: Any = forked.Command(torchrun(arguments), tmp_path / "begun")
        else:
            process = forked.Ranks([*arguments, *RANKS], tmp_path / "begun", count=2)
        processes.append(process)
        deadline = time.monotonic() + 300
        while not list(tmp_path.rglob("grpo.resume.pt")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    yield begin
    for process in processes:
        if isinstance(process, forked.Command) and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def worker(process: Any, rank: int) -> int:
    """The process id of a rank."""
    if isinstance(process, forked.Ranks):
        return process.ranks[rank].pid
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        if f"RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text().replace("_RANK", ""):
            return int(child)
    raise AssertionError(children)


@pytest.mark.parametrize(("rank", "by_torchrun"), [(0, False), (1, True)])
def test_a_killed_rank_ends_the_others_and_the_run_goes_on_to_the_same_bits(
    model: Path,
    tmp_path: Path,
    two: tuple[Path, str],
    begun: Callable[[bool], Any],
    rank: int,
    by_torchrun: bool,
) -> None:
    process = begun(by_torchrun)
    os.kill(worker(process, rank), signal.SIGKILL)
    killed = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - killed < 15
    lines = [line for line in said.splitlines() if line.startswith("repic: ")]
    assert lines == [
        f"repic: rank {rank} of 2 is gone without a word: killed, or out of memory; the same"
        " command goes on from there"
    ]
    folder, _ = finish(tmp_path, model, ranks=2)
    assert rows_of(folder) == rows_of(two[0])
    for phase in ("sft", "grpo"):
        again, whole = trained(folder, phase), trained(two[0], phase)
        assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.resume.pt*"))


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_rank_is_told_once_and_ends_the_others(
    model: Path, tmp_path: Path, rank: int
) -> None:
    arguments = [*given(tmp_path, model), *RANKS, "method=rl", "reward.own=of_one_rank.fail"]
    (tmp_path / "of_one_rank.py").write_text(
        "import os\n"
        "def fail(completions, examples):\n"
        f"    if os.environ['RANK'] == '{rank}':\n"
        "        raise ValueError('not here')\n"
        "    return [0.0 for _ in completions]\n"
    )
    begun = time.monotonic()
    command = forked.Ranks(arguments, tmp_path / "said", count=2, path=tmp_path)
    _, said = command.communicate(timeout=120)
    assert all(each.returncode for each in command.ranks)
    lines = [line for line in said.splitlines() if line.startswith("repic: ")]
    assert len(lines) == 1
    assert lines[0].startswith("repic: rank 1 of 2: " if rank else "repic: reward function")
    assert "raised ValueError: not here" in lines[0]
    assert time.monotonic() - begun < 120


def test_what_all_ranks_meet_is_told_once(model: Path, tmp_path: Path) -> None:
    arguments = [*given(tmp_path, model), *RANKS, "model.path=/nowhere"]
    command = forked.Ranks(arguments, tmp_path / "said", count=2)
    _, said = command.communicate(timeout=60)
    assert all(each.returncode for each in command.ranks)
    lines = [line for line in said.splitlines() if line.startswith("repic: ")]
    assert len(lines) == 1
    assert not lines[0].startswith("repic: rank")


def test_ranks_that_are_told_to_end_save_together(
    model: Path, tmp_path: Path, two: tuple[Path, str], begun: Callable[[bool], Any]
) -> None:
    process = begun(False)
    os.kill(worker(process, 1), signal.SIGTERM)  # one is enough
    _, said = process.communicate(timeout=60)
    lines = [line for line in said.splitlines() if line.startswith("repic: ")]
    assert len(lines) == 1
    assert "ended by SIGTERM; grpo is saved up to iteration" in lines[0]
    folder, said = finish(tmp_path, model, ranks=1)  # another number of them goes on as well
    assert "grpo: goes on after iteration" in said
    assert distance(trained(folder, "grpo"), trained(two[0], "grpo")) < 1e-6
