"""Which of the processes that share a run this one is, as torchrun says it, or Slurm."""

import os
import re

_PORT = 20_000  # with 12,768 above it: below those that systems give away themselves


def rank() -> int:
    """This process's number; 0 alone writes."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's number on its machine: which device is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def are_named() -> bool:
    """Whether there are ranks; without any, a process is alone."""
    return "LOCAL_WORLD_SIZE" in os.environ


def take_from_slurm() -> None:
    """Say in torchrun's variables which of a Slurm step's tasks this process is.

    A step of several tasks is one run: that of ``srun -n8``, or of a job that a launcher has queued
    with tasks_per_node=8. What torchrun has started is left alone; and a batch script's own process
    is one, however many tasks its job may have. ``MASTER_ADDR`` and ``MASTER_PORT`` stand where
    somebody has set them.

    Raises:
        ValueError: machines have different numbers of tasks.
    """
    said = os.environ
    if "RANK" in said or int(said.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return
    per_node = said["SLURM_STEP_TASKS_PER_NODE"]  # as 8, 8(x2), or 2,1
    found = re.fullmatch(r"(\d+)(\(x\d+\))?", per_node)
    if found is None:
        raise ValueError(
            f"SLURM_STEP_TASKS_PER_NODE: {per_node} is not the same on all nodes; ask for"
            " --ntasks-per-node (of hydra/launcher=slurm: tasks_per_node)"
        )
    nodes = said["SLURM_STEP_NUM_NODES"]
    job, step = (int(said.get(f"SLURM_{name}_ID", "0")) for name in ("JOB", "STEP"))
    said.setdefault("MASTER_ADDR", "127.0.0.1" if nodes == "1" else _first_node())
    said.setdefault("MASTER_PORT", str(_PORT + (job * 16 + step) % 12_768))
    said["WORLD_SIZE"], said["LOCAL_WORLD_SIZE"] = said["SLURM_STEP_NUM_TASKS"], found[1]
    said["GROUP_WORLD_SIZE"], said["GROUP_RANK"] = nodes, said["SLURM_NODEID"]
    said["LOCAL_RANK"], said["RANK"] = said["SLURM_LOCALID"], said["SLURM_PROCID"]


def _first_node() -> str:
    """The machine of rank 0: ``gpu03`` of ``gpu[03-04,7],big1``, or of ``gpu03,gpu04``."""
    first = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\])?", os.environ["SLURM_STEP_NODELIST"])
    assert first is not None
    return first[1] + (first[2] or "")
