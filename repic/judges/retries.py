"""How often a request is repeated, and how long to wait before it is."""

import math
import random
import time
from email.utils import parsedate_to_datetime


class Retries:
    """Exponential backoff with jitter.

    Args:
        attempts: how often a request is sent at most.
        first_delay: seconds before the second attempt; doubles from one attempt to the next.
        longest_delay: seconds; a delay grows no longer, and a server that asks for a longer one
            (a quota is used up, say) is not waited for.
    """

    def __init__(self, *, attempts: int, first_delay: float, longest_delay: float) -> None:
        if attempts < 1:
            raise ValueError(f"judge.retries.attempts: {attempts} is below 1")
        if not 0 <= first_delay <= longest_delay < math.inf:
            raise ValueError(
                "judge.retries: need 0 <= first_delay <= longest_delay, finite,"
                f" not {first_delay} and {longest_delay}"
            )
        self.attempts, self.first_delay, self.longest_delay = attempts, first_delay, longest_delay
        # Of its own: what a run draws must not depend on how a server feels.
        self._random = random.Random()

    def delay(self, sent: int, asked: float | None) -> float | None:
        """Return the seconds to wait, or None to give up.

        Args:
            sent: how often the request has been sent, from 1.
            asked: the server's own wish in seconds, if it has one.

        Returns:
            Between half of the doubled delay and all of it, so that requests that failed together
            do not come back together; never less than the server asks for.
        """
        if sent >= self.attempts or (asked is not None and asked > self.longest_delay):
            return None
        # Beyond a thousand doublings a float overflows; the longest delay is long reached.
        doubled = min(self.longest_delay, self.first_delay * 2.0 ** min(sent - 1, 100))
        return max(doubled * self._random.uniform(0.5, 1.0), asked or 0.0)


def parse_retry_after(value: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3).

    >>> [parse_retry_after(value) for value in ("2", "0.5", "soon", None)]
    [2.0, 0.5, None, None]
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
        seconds = max(seconds, 0.0)
    return seconds if 0 <= seconds < math.inf else None
