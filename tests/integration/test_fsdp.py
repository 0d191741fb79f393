"""Weights in slices over two processes: they learn what one process learns, and go on alike.

All that the two of them do is done by one pair, which ``ranks`` starts; see ``fork_ranks``.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from safetensors.torch import load_file

from repic import distributed
from repic.models.deferred import is_deferred
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.models.sharding import is_slice, own_slice, whole
from repic.phases import sharded_checkpoint
from repic.phases.dpo import DpoModule
from repic.phases.monitor import Monitor, load_checkpoint, trained_weights
from repic.phases.train import state_like
from tests.forked import ASKED_WHERE, fork_ranks
from tests.integration.small import FEW, rows_of, start
from tests.integration.test_dpo import pairs
from tests.integration.test_ranks import distance, trained
from tests.modules import SGD, Recorder, constant, fit
from tests.tiny import load

pytestmark = pytest.mark.slow

SHARDED = ("trainer=fsdp", "trainer.options.accelerator=cpu", "trainer.num_workers=0")
SHARDED += ("trainer.threads=1",)
# The ranks' captions differ in length and number of portions, the reference moves, some prompts are
# replaced, and a validation lies between.
ALL = (FEW, "phase.grpo.iterations=4", "phase.grpo.checkpoint_every=2", "phase.grpo.val_every=2")
ALL += ("phase.grpo.prompts=6", "phase.grpo.micro_batch_tokens=300", "kl.refresh_every=3")
ALL += ("phase.grpo.resample_attempts=1", "phase.grpo.optimizer.lr=0.001")
ALL += ("phase.sft.batch_size=6", "phase.sft.micro_batch=1", "method.evaluated=[]", *SHARDED)
ADAPTERS = (
    "method=rl",
    "method.evaluated=[]",
    FEW,
    *SHARDED,
    "model.lora={r:4,alpha:8,dropout:0.0}",
    "phase.grpo.optimizer.lr=0.01",
)
ADAPTERS += ("model.export=adapter", "model.gradient_checkpointing=true", "name=adapters")


@contextmanager
def as_torchrun_does() -> Iterator[None]:
    """Say that torchrun has started this process, and no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_WORLD_SIZE", "1")
        patch.setenv("GROUP_WORLD_SIZE", "1")
        yield


@contextmanager
def cut_off(outputs: Path, copy: Path) -> Iterator[None]:
    """Copy what there is after RL's third iteration, of which two are saved: as after a kill."""
    tell = Monitor.iteration_end

    def iteration_end(self: Monitor, module: Any, *rest: Any) -> None:
        tell(self, module, *rest)
        if self.phase == "grpo" and module.iteration == 3 and distributed.rank() == 0:
            shutil.copytree(outputs, copy)

    Monitor.iteration_end = iteration_end  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        Monitor.iteration_end = tell


@contextmanager
def watched(notes: dict[str, Any]) -> Iterator[None]:
    """Note how weights came, how much of them is kept, and how ranks' portions differ in number."""
    shard, most = Policy.shard, distributed.most
    notes.update(read_before=0, kept=[], portions=[])

    def look(self: Policy, device: torch.device) -> None:
        notes["read_before"] += sum(not is_deferred(p) for p in self.parameters())
        shard(self, device)
        sliced = [p for p in self.parameters() if p.requires_grad]
        kept = sum(own_slice(p).numel() for p in sliced) / sum(p.numel() for p in sliced)
        notes["kept"].append(kept)

    def count(value: int, device: torch.device) -> int:
        notes["portions"].append((value, most(value, device)))
        return notes["portions"][-1][1]

    Policy.shard, distributed.most = look, count
    try:
        yield
    finally:
        Policy.shard, distributed.most = shard, most


def dpo(model: Path, rank: tuple[int, int]) -> DpoModule:
    """Two steps on four pairs of answers, from weights that were loaded whole."""
    policy = load(model)
    sharded: dict[str, Any] = {}
    if rank[1] > 1:
        policy.shard(torch.device("cpu"))
        strategy = ModelParallelStrategy(data_parallel_size=rank[1], tensor_parallel_size=1)
        sharded = {"strategy": strategy, "devices": rank[1]}
    module = DpoModule(
        beta=0.5,
        policy=policy,
        engine=PlainEngine(),
        optimizer=SGD,
        schedule=constant,
        iterations=2,
        micro_batches=2 if rank[1] > 1 else 4,
        grad_clip=1.0,
        seed=0,
        monitor=Recorder(),
    )
    micro_batches = module.micro_batches
    fit(
        module,
        micro_batch=1,
        iterations=2,
        accumulate=micro_batches,
        data=pairs(),
        rank=rank,
        use_distributed_sampler=False,
        **sharded,
    )
    return module


def checkpoint_in(outputs: Path) -> Path:
    return outputs / "run" / "seed_0" / "checkpoints" / "grpo.resume.pt"


def read_in_slices(policy: Policy, outputs: Path) -> dict[str, Any]:
    """Go on from a checkpoint of one process; return what two have of it together."""
    state = torch.load(checkpoint_in(outputs), weights_only=True)
    same = ("started_from", "learns_from")
    monitor: Any = SimpleNamespace(
        checkpoint=checkpoint_in(outputs), **{name: state[name] for name in same}
    )
    module: Any = SimpleNamespace(policy=policy, load_extra_state=lambda extra: None)
    optimizer = torch.optim.AdamW(policy.trainable_parameters())
    moments = load_checkpoint(monitor, module)
    assert moments is not None
    optimizer.load_state_dict(state_like(moments, optimizer))
    weights = {name: whole(p) for name, p in trained_weights(policy).items()}
    kept = [optimizer.state[p]["exp_avg_sq"] for p in policy.trainable_parameters()]
    assert all(map(is_slice, kept))
    return {"weights": weights, "moments": [whole(value) for value in kept]}


@pytest.fixture(scope="module")
def one(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what one process has done."""
    root = tmp_path_factory.mktemp("one")
    with as_torchrun_does():
        with cut_off(root / "whole", root / "cut"):
            start(model, root / "whole", *ALL)
        start(model, root / "adapters", *ADAPTERS)
    return root


@pytest.fixture(scope="module")
def two(model: Path, one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what two ranks have done."""
    root = tmp_path_factory.mktemp("two")

    def work(rank: int) -> None:
        notes: dict[str, Any] = {}
        with cut_off(root / "whole", root / "cut"), watched(notes):
            start(model, root / "whole", *ALL)
        (root / f"notes_{rank}.json").write_text(json.dumps(notes))
        start(model, root / "adapters", *ADAPTERS)
        module = dpo(model, (rank, 2))
        weights = {name: whole(p) for name, p in module.policy.named_parameters()}
        if rank == 0:
            torch.save({"rows": module.monitor.rows, "weights": weights}, root / "dpo.pt")
        read = read_in_slices(module.policy, one / "cut")
        if rank == 0:
            torch.save(read, root / "read.pt")

    ended = fork_ranks(2, work, root / "said")
    assert ended == [0, 0], "\n".join(file.read_text() for file in (root / "said").iterdir())
    return root


def run_of(outputs: Path) -> Path:
    (summary,) = outputs.rglob("summary.json")
    return summary.parent


def assert_alike(one: Path, other: Path) -> None:
    """Numbers to 1e-7, or as near as float32 holds them, and weights to 1e-6 of their length."""
    one, other = run_of(one), run_of(other)
    rows = [
        [{k: v for k, v in row.items() if not k.startswith("tokens/")} for row in rows_of(folder)]
        for folder in (one, other)
    ]
    assert len(rows[0]) == len(rows[1])
    for left, right in zip(*rows, strict=True):
        assert left.pop("phase") == right.pop("phase")
        for key in ("sft/loss", "grpo/loss"):
            if key in left:
                assert left[key] == pytest.approx(right[key], rel=1e-7, abs=1e-7)
        assert left == pytest.approx(right, rel=1e-4, abs=1e-5)
    for phase in ("sft", "grpo"):
        assert distance(trained(one, phase), trained(other, phase)) < 1e-6


def test_two_ranks_with_slices_of_the_weights_learn_what_one_process_does(
    one: Path, two: Path
) -> None:
    assert_alike(one / "whole", two / "whole")


def test_no_rank_reads_or_keeps_the_whole_and_ranks_with_less_to_do_keep_step(two: Path) -> None:
    notes = [json.loads((two / f"notes_{rank}.json").read_text()) for rank in (0, 1)]
    for note in notes:
        assert note["read_before"] == 0
        assert len(note["kept"]) == 2  # a policy for each phase
        assert all(0.45 < kept < 0.55 for kept in note["kept"])
    assert any(own < most for note in notes for own, most in note["portions"])


@contextmanager
def killed_as_it_saves(iteration: int) -> Iterator[None]:
    """Let rank 1 be killed while rank 0 writes a checkpoint of RL's, and waits for it."""
    write = sharded_checkpoint.write

    def killed(path: Path, state: dict[str, Any], *, earlier: Path) -> None:
        is_then = path.stem == "grpo.resume" and state["iteration"] == iteration
        if is_then and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, state, earlier=earlier)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded_checkpoint, "write", killed)
        yield


def test_a_killed_rank_ends_the_other_in_a_line_and_the_run_goes_on_to_the_same_bits(
    model: Path, two: Path
) -> None:
    shutil.copytree(two / "cut", two / "killed")

    def work(rank: int) -> None:
        with killed_as_it_saves(4):
            start(model, two / "killed", *ALL)

    assert fork_ranks(2, work, two / "said_by_killed") == [1, -signal.SIGKILL]
    told = (two / "said_by_killed" / "rank_0.txt").read_text()
    assert told.count("repic: ") == 1
    assert "repic: rank 1 of 2 is gone without a word: killed, or out of memory; the same" in told
    assert "Traceback" not in told
    assert checkpoint_in(two / "killed").is_dir()
    ended = fork_ranks(2, lambda _: start(model, two / "killed", *ALL), two / "said_by_again")
    assert ended == [0, 0], (two / "said_by_again" / "rank_0.txt").read_text()
    whole, again = run_of(two / "whole"), run_of(two / "killed")
    assert rows_of(again) == rows_of(whole)
    for phase in ("sft", "grpo"):
        weights = trained(whole, phase)
        assert all(torch.equal(value, weights[k]) for k, value in trained(again, phase).items())
    left = ("*.part", "*.resume.pt*", "*.set_aside*")
    assert not [path for pattern in left for path in (two / "killed").rglob(pattern)]


def test_ranks_that_wait_for_one_another_in_vain_say_where(tmp_path: Path) -> None:
    ended = fork_ranks(2, lambda _: threading.Event().wait(60), tmp_path, still=2)
    assert ended == [-ASKED_WHERE] * 2
    assert "in wait" in (tmp_path / "rank_1.txt").read_text()


def test_a_run_goes_on_with_another_number_of_ranks(model: Path, one: Path, two: Path) -> None:
    shutil.copytree(two / "cut", two / "of_two")
    ended = fork_ranks(3, lambda _: start(model, two / "of_two", *ALL), two / "said_by_three")
    assert ended == [0, 0, 0], (two / "said_by_three" / "rank_0.txt").read_text()
    with as_torchrun_does():
        start(model, two / "cut", *ALL)
    for begun in ("cut", "of_two"):
        assert_alike(one / "whole", two / begun)
        assert not list(two.glob(f"{begun}/**/*.resume.pt*"))


def test_a_checkpoint_of_one_process_is_cut_into_slices(one: Path, two: Path) -> None:
    state = torch.load(checkpoint_in(one / "cut"), weights_only=True)
    read = torch.load(two / "read.pt", weights_only=True)
    assert read["weights"].keys() == state["weights"].keys()
    assert all(torch.equal(value, read["weights"][k]) for k, value in state["weights"].items())
    moments = [kept["exp_avg_sq"] for kept in state["optimizer"]["state"].values()]
    assert all(map(torch.equal, read["moments"], moments))


def test_adapters_on_weights_in_slices_learn_what_they_do_on_whole_ones(
    one: Path, two: Path
) -> None:
    folders = [run_of(root / "adapters") for root in (one, two)]
    files = [folder / "checkpoints" / "grpo" / "adapter_model.safetensors" for folder in folders]
    ours, theirs = map(load_file, files)
    assert distance(ours, theirs) < 1e-6
    assert any(value.any() for name, value in ours.items() if "lora_B" in name)
    for left, right in zip(*map(rows_of, folders), strict=True):
        assert left["grpo/loss"] == pytest.approx(right["grpo/loss"], rel=0, abs=1e-7)


def test_preferences_are_learnt_alike_against_a_reference_in_slices(model: Path, two: Path) -> None:
    alone = dpo(model, (0, 1))
    found = torch.load(two / "dpo.pt", weights_only=True)
    for left, right in zip(alone.monitor.rows, found["rows"], strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=0, abs=1e-6)
        assert left["margin"] == pytest.approx(right["margin"], rel=0, abs=1e-5)
    weights = {name: p.detach() for name, p in alone.policy.named_parameters()}
    assert distance(weights, found["weights"]) < 1e-6
