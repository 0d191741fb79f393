"""An end to what strangers' code may take."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

_AGAIN = 1.0  # seconds after which it is told again, to code that took no notice


class OutOfTime(BaseException):
    """Ends what takes too long; no ``Exception``, which such code may catch."""


@contextlib.contextmanager
def time_limit(seconds: float | None, complaint: str) -> Iterator[None]:
    """Let the block take so many seconds, and end it then wherever it is.

    By the process's alarm clock: sleeping, waiting for others and Python's own loops end, and so
    do regular expressions; a single call into compiled code ends first. Outside the main thread,
    and on systems without the alarm, there is no limit.

    Args:
        seconds: None for no limit.
        complaint: what is said then.

    Raises:
        ValueError: the block took longer.

    Example:
        >>> with time_limit(0.01, "that took too long"):
        ...     time.sleep(60)
        Traceback (most recent call last):
        ValueError: that took too long
    """
    is_main = threading.current_thread() is threading.main_thread()
    if seconds is None or not is_main or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    begun, handler = time.monotonic(), signal.signal(signal.SIGALRM, ring)
    # A limit around this one goes on afterwards.
    outer, again = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except OutOfTime:
        raise ValueError(complaint) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            left = outer - (time.monotonic() - begun)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001), again)
