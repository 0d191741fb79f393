"""Signals that ask a process to end: Ctrl-C, SIGTERM, and SIGUSR1, Slurm's warning.

A scheduler lets some 30 seconds pass before it kills. Training uses them to finish its iteration
and to save it; a process that has not ended by then ends as it is, and goes on from what was saved
before. Whatever else runs is kept piece by piece, and ends at once. A second Ctrl-C ends anything.

In a job that submitit has queued, SIGUSR2 is the warning, and submitit's handler queues the job
again: it is called when training has saved.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

INTERRUPTED, TOLD = 130, 143  # 128 + SIGINT, and 128 + SIGTERM, whichever of the two told us
PATIENCE = 12.0  # seconds for the iteration that is under way
LIMIT = 28.0  # seconds in all
HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
# Those whose handlers others may have set, to end the process or to have it started again.
PASSED_ON = (signal.SIGTERM, signal.SIGUSR2)


class Stopped(BaseException):
    """A signal has asked the process to end.

    Attributes:
        number: of the signal.
        why: in words.
        code: what the process ends with.
        saved: what was saved, if whoever was cut short says so.
    """

    def __init__(self, number: int) -> None:
        is_interrupt = number == signal.SIGINT
        self.number = number
        self.why = "interrupted" if is_interrupt else f"ended by {signal.Signals(number).name}"
        super().__init__(self.why)
        self.code = INTERRUPTED if is_interrupt else TOLD
        self.saved = ""


class _Request:
    """What was asked of this process; forked ones have handlers of their own."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_patient = self.is_over = False
        self.pid = os.getpid()
        self.numbers: tuple[int, ...] = ()  # of the signals that are heeded
        self.earlier: dict[int, Any] = {}  # somebody else's handlers, which are called at the end
        self.timers: list[threading.Timer] = []

    def take(self, numbers: Iterable[int]) -> None:
        self.numbers = tuple(numbers)
        for number in self.numbers:
            signal.signal(number, self.handle)

    def handle(self, number: int, frame: Any) -> None:
        del frame
        if os.getpid() != self.pid:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.number is None:
            self._begin(number)
        elif number == signal.SIGINT:
            _end(INTERRUPTED, "interrupted twice: ended at once")
        elif self.is_patient and self.is_over:
            self._stop()

    def _begin(self, number: int) -> None:
        self.number = number
        if number != signal.SIGINT:
            self._later(LIMIT, self._give_up)
            if self.is_patient:
                self._later(PATIENCE, self._press)
                return
        self._stop()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        self.timers.append(timer)

    def _press(self) -> None:
        self.is_over = True
        main = threading.main_thread().ident
        if self.is_patient and main is not None:
            signal.pthread_kill(main, signal.SIGTERM)

    def _give_up(self) -> None:
        assert self.number is not None
        with contextlib.suppress(SystemExit):
            self.pass_on(self.number)
        _end(TOLD, "told to end, and not ready in time")

    def pass_on(self, number: int) -> None:
        if earlier := self.earlier.get(number):
            earlier(number, None)

    def _stop(self) -> None:
        assert self.number is not None
        self.is_patient = False
        raise Stopped(self.number)


def _end(code: int, why: str) -> None:
    os.write(sys.stderr.fileno(), f"repic: {why}; the same command goes on from there\n".encode())
    os._exit(code)


_request: _Request | None = None


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Let signals that ask the process to end raise ``Stopped`` in the block.

    Those that somebody else sees to already are left alone, but for ``PASSED_ON``, whose handlers
    are called before it is raised. Threads are left alone.
    """
    global _request  # handlers are the process's
    if _request is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    untouched = (signal.SIG_DFL, signal.default_int_handler)
    before = {s: h for s in HEEDED if (h := signal.getsignal(s)) in untouched}
    request = _request = _Request()
    request.earlier = {
        s: h for s in PASSED_ON if s not in before and callable(h := signal.getsignal(s))
    }
    before |= request.earlier
    request.take(before)
    try:
        yield
    except Stopped as stop:
        request.pass_on(stop.number)
        raise
    finally:
        _request = None
        for timer in request.timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Give the block time to look whether it shall end (``asked``); it is not cut short before."""
    with heeded():
        request = _request
        if request is None:  # in a thread
            yield
            return
        request.is_patient = True
        try:
            yield
        finally:
            request.is_patient = False
        if request.number is not None:
            raise Stopped(request.number)


def asked() -> int | None:
    """Which signal has asked the process to end, if one has."""
    return None if _request is None else _request.number


def retake() -> None:
    """Take back what a library has put its own handlers on."""
    if _request is not None:
        _request.take(_request.numbers)
