"""Processes that work together as torchrun's do, forked from this one, which saves their start."""

import ctypes
import faulthandler
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG
LONGEST = 90  # seconds, after which ranks wait for one another in vain


def fork_ranks(number: int, work: Callable[[int], object], said: Path) -> list[int]:
    """Let ranks do some work; return how each one ended: 0, an exit status, or minus a signal.

    Args:
        number: of ranks.
        work: is given the rank.
        said: the folder that gets a file of what each rank prints.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(number):
        if (process := os.fork()) == 0:
            _be_rank(rank, number, port, work, said)
        processes.append(process)
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]


def _be_rank(rank: int, number: int, port: int, work: Callable[[int], object], said: Path) -> None:
    status = 1
    try:
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
        said.mkdir(parents=True, exist_ok=True)
        file = os.open(said / f"rank_{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
        given |= {"GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1, "MASTER_PORT": port}
        given |= {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": 0}
        given |= {"TORCHELASTIC_MAX_RESTARTS": 0, "ROLE_RANK": rank, "ROLE_WORLD_SIZE": number}
        os.environ.update({key: str(value) for key, value in given.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=sys.stderr)
        work(rank)
        status = 0
    except BaseException:  # all that ends a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
