"""What asking has cost and brought, in numbers for a log."""

from collections import Counter
from dataclasses import dataclass

# Logged as zero, too, so that a column is there before the first failure.
_USUAL = (
    "questions",
    "answered",
    "cached",
    "requests",
    "failed_unreachable",
    "failed_timeout",
    "failed_malformed",
    "failed_unparsable",
    "failed_not_asked",
    "inconsistent",
    "unmetered",
    "prompt_tokens",
    "completion_tokens",
)


@dataclass(frozen=True)
class Prices:
    """In dollars per million tokens; an endpoint's discounts are not known here.

    Args:
        prompt: of tokens sent, pictures included.
        completion: of tokens received.
    """

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


class Tally(Counter[str]):
    """Counts by name.

    ``questions`` is the sum of ``answered`` (by a request), ``cached`` (on disk, or the same
    question asked in the same batch) and every ``failed_<kind>``: "unreachable", "timeout",
    "http_<status>", "malformed" (no chat completion), "unparsable" (nonsense) and "not_asked"
    (the endpoint had been given up). ``requests`` counts repeated ones, too; ``unmetered`` those
    whose reply says nothing of tokens; ``inconsistent`` the choices that changed with the order.
    """

    def report(self, prices: Prices) -> dict[str, float]:
        """Return every count, and ``cost`` in dollars."""
        whole = {name: float(self[name]) for name in _USUAL}
        whole |= {name: float(count) for name, count in sorted(self.items())}
        cost = prices.cost(self["prompt_tokens"], self["completion_tokens"])
        return {**whole, "cost": cost}
