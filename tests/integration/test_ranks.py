"""Several processes that train together: they do what one does, and end when one of them dies."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from repic.metrics.caption_files import read_predictions
from tests.integration.small import FEW, rows_of, summary_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GIVEN = ("debug=fast", "metrics.counts=[1,2]", FEW, "kl=adaptive", "phase.sft.micro_batch=4")
GIVEN += ("phase.sft.iterations=10", "phase.grpo.iterations=10", "phase.grpo.checkpoint_every=3")
GIVEN += ("phase.grpo.resample_attempts=1", "phase.grpo.optimizer.lr=0.001")
GIVEN += ("reward.own=tests.integration.small.letters:1.0",)
RANKS = ("trainer=ddp", "trainer.options.accelerator=cpu", "trainer.num_workers=0")
RANKS += ("trainer.threads=1",)


def command(outputs: Path, model: Path, *, ranks: int) -> list[str]:
    given = ["-m", "repic.run", *GIVEN, f"outputs={outputs}", f"model.path={model}"]
    if ranks == 1:
        return [sys.executable, *given]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    return [sys.executable, *torchrun, f"--master-port={port}", *given, *RANKS]


def finish(outputs: Path, model: Path, *, ranks: int) -> tuple[Path, str]:
    """Do a run to its end; return its folder and what it said."""
    done = subprocess.run(
        command(outputs, model, ranks=ranks), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (summary,) = outputs.rglob("summary.json")
    return summary.parent, done.stdout


@pytest.fixture(scope="module")
def two(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return finish(tmp_path_factory.mktemp("two"), model, ranks=2)


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
