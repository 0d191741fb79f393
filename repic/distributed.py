"""Ranks: who am I, and the few exchanges that phases need; without torchrun there is one rank."""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def start(accelerator: str) -> None:
    """Join torchrun's other ranks; does nothing in an ordinary process.

    Lightning uses a process group that is already there. Ours starts before the first phase,
    since ranks have to agree on what is cached and what is done before there is a trainer.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # Longer than any phase: a rank may wait for another job that computes a shared stage.
        backend = "gloo" if accelerator == "cpu" else "nccl"
        dist.init_process_group(backend, timeout=timedelta(days=2))


def layout(strategy: str) -> dict[str, int]:
    """Lightning's options for the processes that torchrun has started; none without it.

    Left to itself, Lightning takes every device that it sees and starts processes of its own.
    """
    if "LOCAL_WORLD_SIZE" in os.environ:
        return {
            "devices": int(os.environ["LOCAL_WORLD_SIZE"]),
            "num_nodes": int(os.environ["GROUP_WORLD_SIZE"]),
        }
    if strategy == "ddp":
        raise ValueError(
            "trainer.options.strategy: ddp is for several processes; start them with torchrun"
            " --nproc-per-node=<processes> -m repic.run, or choose trainer=gpu or trainer=cpu"
        )
    return {}


def rank() -> int:
    """This process's number; 0 alone writes."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's number on its machine: which device is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own() -> slice:
    """Which of the things that are dealt out to the ranks, in turn, are this one's."""
    return slice(rank(), None, world_size())


def barrier() -> None:
    """Wait for the other ranks."""
    if dist.is_initialized():
        dist.barrier()


def from_main(value: T) -> T:
    """Return rank 0's value on every rank."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(values: Sequence[T]) -> list[T]:
    """Return every rank's values, interleaved as ``items[rank::world_size]`` dealt them out."""
    if not dist.is_initialized():
        return list(values)
    parts: list[list[T]] = [[] for _ in range(world_size())]
    dist.all_gather_object(parts, list(values))
    longest = max(map(len, parts))
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


def total(value: int | float, device: torch.device) -> float:
    """Return the sum of a number over all ranks."""
    if not dist.is_initialized():
        return float(value)
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    return float(tensor)


def lists(values: Mapping[str, T]) -> dict[str, list[T]]:
    """Return what the ranks have under each key, in their order; some may lack it."""
    parts = gather([dict(values)])
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: [part[key] for part in parts if key in part] for key in keys}


def totals(values: Mapping[str, float]) -> dict[str, float]:
    """Return the sums of numbers over the ranks that have them."""
    return {key: sum(found) for key, found in lists(values).items()}
