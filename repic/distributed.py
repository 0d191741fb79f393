"""Ranks: the few exchanges that phases need; without torchrun or Slurm there is one rank."""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from repic import files
from repic.errors import explain
from repic.ranks import are_named, local_rank, rank
from repic.signals import Stopped

__all__ = ["local_rank", "rank"]

T = TypeVar("T")

_TICK = 0.5  # seconds between two looks at the other ranks
_DEATHS = "repic/deaths"  # counts who has told of one
_others: dict[int, int] = {}  # rank -> process, of this machine's
_is_told = threading.Event()  # this rank says itself why it ends


def start(accelerator: str) -> None:
    """Join the other ranks; does nothing in an ordinary process.

    Lightning uses a process group that is already there. Ours starts before the first phase,
    since ranks have to agree on what is cached and what is done before there is a trainer.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # Longer than any phase: a rank may wait for another job that computes a shared stage.
        backend = "gloo" if accelerator == "cpu" else "nccl"
        dist.init_process_group(backend, timeout=timedelta(days=2))
        _others.update(_processes())
        atexit.register(_leave)
        threading.Thread(target=_watch, daemon=True).start()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Let an error of one rank end the others, and be told once, by the rank that it is of.

    Raises:
        SystemExit: in ranks whose error is told.
    """
    try:
        yield
    except (Exception, Stopped) as error:
        if not dist.is_initialized():
            raise
        # What a rank meets when another has died is no error of its own, and torchrun tells those
        # that are left to end.
        _await_deaths(4 * _TICK if isinstance(error, RuntimeError) else 0.0)
        if isinstance(error, Stopped):
            raise
        _await_deaths(2 * _TICK * (rank() > 0))  # rank 0 tells what all ranks meet alike
        _is_told.set()
        if _store().add(_DEATHS, 1) > 1:
            sys.exit(1)
        if _meets_at_rank_0():
            time.sleep(2 * _TICK * (rank() == 0))  # until the others have seen it there
        if rank() > 0:
            print(f"repic: rank {rank()} of {world_size()}: {explain(error)}", file=sys.stderr)
            if isinstance(error, ValueError | OSError):
                sys.exit(1)
        raise


def _watch() -> None:
    """End this process when another rank of its machine has died, or has told of an error.

    A rank that waits for a dead one waits for long, and then knows neither which one nor why.
    """
    while not _is_told.wait(_TICK):
        try:
            _end_after_deaths()
        except RuntimeError:  # whoever keeps the store has gone
            if not _meets_at_rank_0():  # torchrun, which ends us as well
                return
            time.sleep(10 * _TICK)  # rank 0 leaves last, if all goes well
            _end_after_rank_0()


def _await_deaths(seconds: float) -> None:
    """Look for other ranks' deaths for so long, and once at least."""
    end = time.monotonic() + seconds
    while True:
        try:
            _end_after_deaths()
            if time.monotonic() >= end:
                return
            time.sleep(0.1)
        except Stopped:  # by torchrun, because of the death
            continue
        except RuntimeError:  # the store has gone, and a rank that has an error with it
            if not _meets_at_rank_0():
                raise
            _end_after_rank_0()


def _leave() -> None:
    with contextlib.suppress(RuntimeError):  # the store may be gone
        _store().set(_left(rank()), "")


def _processes() -> dict[int, int]:
    """The process of each other rank that can be watched, which are those of this machine."""
    here = files.machine()
    everyone: list[tuple[str, int]] = gather([(here, os.getpid())])
    return {
        number: process
        for number, (where, process) in enumerate(everyone)
        if number != rank() and where == here != ""
    }


def _meets_at_rank_0() -> bool:
    """Whether the ranks meet at rank 0, as Slurm's do, and not at torchrun."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


def _end_after_rank_0() -> None:
    """End this process: the first of those that are left tells."""
    if rank() == 1:
        _tell_of_death(0)
    os._exit(1)


def _tell_of_death(number: int) -> None:
    said = f"rank {number} of {world_size()} is gone without a word: killed, or out of"
    said += " memory; the same command goes on from there"
    os.write(sys.stderr.fileno(), f"repic: {said}\n".encode())


def _end_after_deaths() -> None:
    store = _store()
    if store.check([_DEATHS]):
        os._exit(1)
    for number, process in _others.items():
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            if store.check([_left(number)]):
                continue
            if store.add(_DEATHS, 1) == 1:
                _tell_of_death(number)
            os._exit(1)


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def _left(number: int) -> str:
    return f"repic/left/{number}"


def layout(strategy: str) -> dict[str, int]:
    """Lightning's options for the ranks that there are; none for a process alone.

    Left to itself, Lightning takes every device that it sees and starts processes of its own.
    """
    if are_named():
        return {
            "devices": int(os.environ["LOCAL_WORLD_SIZE"]),
            "num_nodes": int(os.environ["GROUP_WORLD_SIZE"]),
        }
    if strategy != "auto":
        raise ValueError(
            f"trainer.options.strategy: {strategy} is for several processes; start them with"
            " torchrun --nproc-per-node=<processes> -m repic.run, or by Slurm (docs/cluster.md),"
            " or choose trainer=gpu or trainer=cpu"
        )
    return {}


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


def most(value: int, device: torch.device) -> int:
    """Return the largest of a number over all ranks."""
    if not dist.is_initialized():
        return value
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


def lists(values: Mapping[str, T]) -> dict[str, list[T]]:
    """Return what the ranks have under each key, in their order; some may lack it."""
    parts = gather([dict(values)])
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: [part[key] for part in parts if key in part] for key in keys}


def totals(values: Mapping[str, float]) -> dict[str, float]:
    """Return the sums of numbers over the ranks that have them."""
    return {key: sum(found) for key, found in lists(values).items()}
