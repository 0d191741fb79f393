"""How far long work is, for people who wait."""

import logging
import sys
import time
from collections.abc import Mapping

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0


class ProgressLine:
    """A bar on a terminal, a line now and then in a log file; both say how long it will take.

    Args:
        phase: what is done.
        iterations: how much of it there is.
        show: short label → key of the numbers beside it.
    """

    def __init__(self, phase: str, iterations: int, show: Mapping[str, str]) -> None:
        self.phase, self.iterations, self.show = phase, iterations, show
        self.bar: Progress | None = None
        self.begun, self.begun_at, self.last_line = time.monotonic(), 0, 0.0

    def start(self, iteration: int) -> None:
        """Begin at ``iteration`` iterations done."""
        self.begun, self.begun_at = time.monotonic(), iteration
        if not self.show:  # there is nothing to say of what takes a moment
            self.last_line = self.begun
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
            bar = self.bar = Progress(*columns, *times)
            bar.start()
            bar.add_task(self.phase, total=self.iterations, completed=iteration, text="")

    def update(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Show how far it is, and the numbers that are asked for; not without any of these."""
        shown = [f"{k} {metrics[key]:.3g}" for k, key in self.show.items() if key in metrics]
        if self.show and not shown:
            return
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=iteration, text="  ".join(shown))
            return
        is_last = bool(shown) and iteration == self.iterations
        if is_last or now - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = now
            pace = (now - self.begun) / max(iteration - self.begun_at, 1)
            left = pace * (self.iterations - iteration)
            text = "".join(f"{number}  " for number in shown)
            log.info("%s %d/%d  %s%.0f s left", self.phase, iteration, self.iterations, text, left)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
