"""Try many wrong inputs, each in a process of its own, and count what becomes of them."""

import os
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

SECONDS = 30  # of computing, for one input; a busy machine may take 20 times as long
MEMORY = 4 << 30  # bytes on top of what the process has already


class Tried(NamedTuple):
    """An input, its end ("taken", "told" in a sentence, or worse), and whether it can be sound."""

    case: str
    end: str
    said: str
    may_not_pass: bool


def is_good(tried: Tried) -> bool:
    """Whether a sentence told what is wrong, if something had to be."""
    return tried.end == "told" or (tried.end == "taken" and not tried.may_not_pass)


def attempt(
    read: Callable[[], object], *, names: str, told: tuple[type[Exception], ...]
) -> tuple[str, str]:
    """Read an input, and say how that ended.

    Args:
        read: does it.
        names: has to stand in a complaint.
        told: errors that a command shows in one line.

    Returns:
        The end, and the complaint: "taken"; "told"; "unnamed" for a complaint that does not say of
        what; "traceback".
    """
    try:
        read()
    except told as error:
        said = str(error)
        return ("told" if names in said else "unnamed"), said
    except Exception:
        return "traceback", traceback.format_exc()
    return "taken", ""


def apart(work: Callable[[], tuple[str, str]], seconds: int = SECONDS) -> tuple[str, str]:
    """Do it in a child with limits; "killed" where it takes too long, too much, or crashes."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(20 * seconds)
        resource.setrlimit(resource.RLIMIT_AS, (_size() + MEMORY, resource.RLIM_INFINITY))
        devnull = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # a question on stdin finds nobody
            os.dup2(devnull, stream)
        end, said = work()
        os.write(writes, f"{end}\n{said}".encode("utf-8", "replace")[:60_000])
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        end, _, said = pipe.read().decode("utf-8", "replace").partition("\n")
    _, status = os.waitpid(child, 0)
    return (end, said) if end else ("killed", f"signal {status & 127}, status {status >> 8}")


def _size() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def report(tried: Iterable[Tried]) -> int:
    """Print what should not be, and how often each end came; return the exit status."""
    ends, bad = Counter(), 0
    for one in tried:
        ends[one.end] += 1
        if not is_good(one):
            bad += 1
            print(f"{one.case}: {one.end}\n    {one.said.strip()[-1500:]}", flush=True)
    counts = ", ".join(f"{number} {end}" for end, number in sorted(ends.items()))
    print(f"{ends.total()} inputs: {counts}; {bad} not as they should be", file=sys.stderr)
    return int(bad > 0)
