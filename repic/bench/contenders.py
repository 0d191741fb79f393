"""The bench's side of taking turns: one process for each contender, one step at a time."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

PEER = "trl"  # the contender that is no engine of ours; see repic.bench.peer
LAST_LINES = 5  # of a dead contender's log that are shown
PATIENCE_S = 10.0  # with one that has been told to end


class Contender:
    """A process that does a step when it is told to.

    Args:
        name: of the contender.
        task: see ``repic.bench.worker``.
        log_file: gets what its libraries say.
        threads: how many it may compute with.
    """

    def __init__(self, name: str, task: Mapping[str, Any], *, log_file: Path, threads: int) -> None:
        self.name, self.log_file = name, log_file
        package = str(Path(__file__).parents[2])
        paths = filter(None, [package, os.environ.get("PYTHONPATH")])
        quiet = {"TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"}
        with log_file.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "repic.bench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={
                    **os.environ,
                    **quiet,
                    "OMP_NUM_THREADS": str(threads),
                    "WANDB_MODE": "disabled",
                    "PYTHONPATH": os.pathsep.join(paths),
                },
                start_new_session=True,  # Ctrl-C is for the bench, which then ends its processes
            )
        self.first = self.tell(json.dumps(task))  # what it says when it is ready

    def tell(self, line: str) -> dict[str, Any] | None:
        """Order something, wait until it is done, and return the report; None if it died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        report = self.process.stdout.readline()
        return json.loads(report) if report else None

    def obituary(self) -> str:
        """Say how the process ended, with the last lines of its log."""
        code = self.process.wait()
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        tail = "\n  ".join(lines[-LAST_LINES:])
        return f"{self.name} ended with {how} and goes on no more; {self.log_file}:\n  {tail}"

    def close(self) -> None:
        """Let the process end, or end it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # an order that it did not live to read
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def take_turns(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    report: Callable[[Contender, int, dict[str, Any]], None],
) -> None:
    """Let every contender do one step, then again: A B A B.

    So what disturbs the machine for a while disturbs all of them. One that dies is left out from
    there on; the others go on.

    Args:
        contenders: those who are ready.
        rounds: steps of each.
        report: is given every step as soon as it is done.
    """
    alive = [contender for contender in contenders if contender.first is not None]
    for contender in contenders:
        if contender.first is None:
            log.warning("%s", contender.obituary())
    for number in range(rounds):
        for contender in list(alive):
            numbers = contender.tell("step")
            if numbers is None:
                log.warning("%s", contender.obituary())
                alive.remove(contender)
            else:
                report(contender, number, numbers)
