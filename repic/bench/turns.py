"""A contender's side of taking turns: wait to be told, do one step, report."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import torch

from repic.rewards.rubric import RewardBatch, Rubric
from repic.types import Example


class Turns:
    """Measures steps that somebody else orders, one at a time.

    Args:
        orders: a line for every step to do; its end is the end of the bench.
        reports: gets a JSON line for every step that is done.
        on_gpu: whether the GPU's time and memory are measured.
    """

    def __init__(self, orders: TextIO, reports: TextIO, *, on_gpu: bool) -> None:
        self.orders, self.reports, self.on_gpu = orders, reports, on_gpu
        self.begun = self.sampled = self.reported = (0.0, 0.0)

    def ready(self, prompt_tokens: float) -> None:
        """Say that everything is loaded, and how long the prompts are."""
        self._send({"prompt_tokens": prompt_tokens})

    def wait(self) -> None:
        """Block until the next step is ordered."""
        if not self.orders.readline():
            raise SystemExit("nobody orders any more steps")
        self.begun = self._clocks()

    def mark_sampled(self) -> None:
        """Note that the captions are there: the update begins."""
        self.sampled = self._clocks()

    def report(self) -> None:
        """Note that the step is done, and say what it took."""
        cpu, wall = self._clocks()
        # Processor time from report to report: waiting takes none, and so it includes what a
        # library does for a step before it lets itself be stopped, such as loading the batch.
        numbers = {
            "cpu_s": cpu - self.reported[0],
            "wall_s": wall - self.begun[1],
            "rollout_cpu_s": self.sampled[0] - self.begun[0],
            "rollout_wall_s": self.sampled[1] - self.begun[1],
            "update_cpu_s": cpu - self.sampled[0],
            "update_wall_s": wall - self.sampled[1],
            "peak_mib": peak_mib(on_gpu=self.on_gpu),
        }
        self.reported = (cpu, wall)
        self._send(numbers)

    def _clocks(self) -> tuple[float, float]:
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.process_time(), time.perf_counter()

    def _send(self, message: dict[str, Any]) -> None:
        print(json.dumps(message), file=self.reports, flush=True)


class Vowels:
    """The reward of the bench: cheap, and different from caption to caption."""

    components = ("vowels",)

    def __call__(self, caption: str, example: Example | None) -> dict[str, float]:
        return {"vowels": sum(letter in "aeiou" for letter in caption) / max(len(caption), 1)}


class MarkingRubric(Rubric):
    """Stands between sampling and update, and so knows when the one ends and the other begins."""

    def __init__(self, turns: Turns) -> None:
        super().__init__({"vowels": Vowels()}, {"vowels": 1.0})
        self.turns = turns

    def score(self, *given: Any, **named: Any) -> RewardBatch:
        self.turns.mark_sampled()
        return super().score(*given, **named)


def peak_mib(*, on_gpu: bool) -> float:
    """The most memory that this process has held so far."""
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would also count what the parent held when it started this process.
        lines = status.read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) / 1024
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss / (2**20 if sys.platform == "darwin" else 1024)
