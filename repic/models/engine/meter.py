"""What an engine's work took: seconds and tokens, until somebody asks.

``time/vision_s``, ``prefill_s`` and ``decode_s`` are parts of a rollout (where a tower is trained,
``vision`` is also part of the update), ``reference_s`` is part of an update. ``tokens/prompt`` and
``tokens/completion`` went through the language model, and ``tokens/saved`` would have gone through
it as well if every caption had a row of its own everywhere. ``PlainEngine`` encodes pictures inside
its prefill, so it has no ``vision``.
"""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Meter:
    """Adds up seconds and tokens under names, and gives them away once."""

    def __init__(self) -> None:
        self._totals: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, part: str, device: torch.device) -> Iterator[None]:
        """Count the seconds that the block takes, on the device as well, as ``time/<part>_s``."""
        _wait(device)
        begun = time.perf_counter()
        try:
            yield
        finally:
            _wait(device)
            self._totals[f"time/{part}_s"] += time.perf_counter() - begun

    def count(self, **tokens: int) -> None:
        """Add to ``tokens/<name>``."""
        for name, number in tokens.items():
            self._totals[f"tokens/{name}"] += number

    def take(self) -> dict[str, float]:
        """Return the totals since the last call."""
        totals, self._totals = self._totals, defaultdict(float)
        return dict(totals)


def peak_memory(device: torch.device) -> float:
    """Return the most memory used so far, in MiB: the device's, or this process's without one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _wait(device: torch.device) -> None:
    """A GPU works on after a call has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
