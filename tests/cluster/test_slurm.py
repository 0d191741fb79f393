"""A Slurm of two nodes on this machine: jobs are queued, told to go, and killed.

By hand, or wherever Debian's packages are: python -m pytest tests/cluster
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from repic.types import Example
from tests.integration.small import FEW, letters, rows_of, summary_of
from tests.tiny import build_qwen

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("slurm.sh")
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.geteuid() != 0
        or not all(map(shutil.which, NEEDED))
        or importlib.util.find_spec("submitit") is None,
        reason="needs Slurm on this machine, as root (Debian: apt-get install"
        " --no-install-recommends slurm-wlm munge), and repic[slurm]",
    ),
]
GIVEN = ("debug=fast", "metrics.counts=[1,2]", FEW, "phase.grpo.iterations=40")
GIVEN += ("phase.grpo.checkpoint_every=1000", "phase.grpo.resample_attempts=1")
SLURM = ("-m", "hydra/launcher=slurm", "hydra.launcher.timeout_min=20")


def slowly(completions: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """A reward that leaves time to do something to the job."""
    time.sleep(0.2)
    return letters(completions, examples)


def fails(completions: Sequence[str], examples: Sequence[Example]) -> list[float]:
    raise ValueError("not for anybody")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    try:
        subprocess.run([SCRIPT, "start", folder], check=True)
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        yield folder
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen(tmp_path_factory.mktemp("model") / "random")


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def until(found: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, ask("squeue", "-l")
        time.sleep(0.2)


def rl_iterations(folder: Path) -> list[int]:
    """Those that a run's log has, whether it runs or not."""
    try:
        return [row["iteration"] for row in rows_of(folder) if row["phase"] == "grpo"]
    except (FileNotFoundError, json.JSONDecodeError):
        return []


def processes_of(node: str) -> dict[int, int]:
    """What jobs run on a node, with their parents; the first of these is Slurm's."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLURMD_NODENAME={node}\0" in (path / "environ").read_text():
                fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
                found[int(path.name)] = int(fields[1])
        except (OSError, UnicodeDecodeError):
            continue
    return found


def kill_node(slurm: Path, node: str) -> None:
    """As when its power fails: Slurm's daemon, what watches its jobs, and the jobs."""
    jobs = processes_of(node)
    daemon = int((slurm / node / "slurmd.pid").read_text())
    for process in [daemon, *(set(jobs.values()) - set(jobs)), *jobs]:
        os.kill(process, signal.SIGKILL)


def run_on(node: str) -> Path | None:
    """The folder of the run that a node is at, from the log that its process holds open."""
    for process in processes_of(node):
        for handle in Path(f"/proc/{process}/fd").glob("*"):
            try:
                if (path := handle.readlink()).name == "run.log":
                    return path.parent
            except OSError:
                continue
    return None


def is_training(node: str) -> bool:
    return (folder := run_on(node)) is not None and max(rl_iterations(folder), default=0) >= 3


def test_a_sweep_outlives_a_more_urgent_job_a_dead_node_a_failing_run_and_who_has_asked_for_it(
    slurm: Path, model: Path, tmp_path: Path
) -> None:
    weights = ("1.0", "0.9", "0.8", "0.7", "0.6")
    rewards = [f"tests.cluster.test_slurm.slowly:{weight}" for weight in weights]
    rewards.insert(2, "tests.cluster.test_slurm.fails:1.0")
    command = [sys.executable, "-m", "repic.run", *SLURM, "hydra.launcher.cpus_per_task=2", *GIVEN]
    command += [f"reward.own={','.join(rewards)}", f"model.path={model}", f"outputs={tmp_path}"]
    asking = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    until(lambda: is_training("n1"))
    displaced = run_on("n1")
    assert displaced is not None
    ask("sbatch", "-p", "urgent", "-w", "n1", "-c", "2", "-o", "/dev/null", "--wrap", "sleep 1")
    until(lambda: run_on("n1") != displaced)
    asking.kill()
    asking.wait()
    until(lambda: is_training("n2"))
    lost = run_on("n2")
    assert lost is not None
    kill_node(slurm, "n2")
    until(lambda: not ask("squeue", "-h"), seconds=600)

    # Every run that can be finished is, once, whatever has happened to it.
    finished = sorted(path.parent for path in tmp_path.rglob("summary.json"))
    assert len(finished) == 5
    for folder in finished:
        assert rl_iterations(folder) == list(range(1, 41))
        assert not list(folder.rglob("*.part"))
    said = (displaced / "run.log").read_text()
    assert "grpo: goes on after iteration" in said  # which no checkpoint of its own was due for
    assert lost in finished
    (failed,) = {path.parent for path in tmp_path.rglob("config.yaml")} - set(finished)
    assert "not for anybody" in "".join(
        path.read_text() for path in tmp_path.glob(".submitit/*/*log.*")
    )
    assert not (failed / "report.html").exists()
    # Nobody was there to print the table, and it is there, of all five.
    (table,) = tmp_path.rglob("sweeps/*/table.md")
    rows = (table.parent / "runs.jsonl").read_text().splitlines()
    assert sorted(map(json.loads, rows)) == [str(folder) for folder in finished]
    named = [f"slowly:{weight}" for weight in weights]
    assert [name for name in named if name not in table.read_text()] == []
    found = ask(sys.executable, "-m", "repic.table", str(tmp_path))
    assert [name for name in named if name not in found] == []
    assert not list(ROOT.glob("hpc_ckpt*"))


def test_tasks_of_a_job_are_ranks_that_train_as_one_process_does(
    slurm: Path, model: Path, tmp_path: Path
) -> None:
    given = [*GIVEN, "phase.grpo.iterations=3", "reward.own=tests.integration.small.letters:1.0"]
    given += [f"model.path={model}", "phase.sft.micro_batch=4"]
    ranks = ["trainer=ddp", "trainer.options.accelerator=cpu", "trainer.num_workers=0"]
    ranks += ["trainer.threads=1", "hydra.launcher.tasks_per_node=2", f"outputs={tmp_path / 'two'}"]
    program = [sys.executable, "-m", "repic.run"]
    said = ask(*program, *SLURM, *given, *ranks, "hydra.launcher.cpus_per_task=1")
    assert "+ RL" in said
    ask(*program, *given, f"outputs={tmp_path / 'one'}")
    (one,), (two,) = (list((tmp_path / n).rglob("summary.json")) for n in ("one", "two"))
    for left, right in zip(rows_of(one.parent), rows_of(two.parent), strict=True):
        assert left.pop("phase") == right.pop("phase")
        assert left == pytest.approx(right, rel=1e-4, abs=1e-5)
    assert summary_of(two.parent)["metrics"] == summary_of(one.parent)["metrics"]
    (jobs,) = (tmp_path / "two").rglob("runs.jsonl")
    assert jobs.read_text() == f'"{two.parent}"\n'
