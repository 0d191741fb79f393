"""Learning-rate schedules: the factor at an iteration, a function without state."""

import math

from repic.values import Share


def warmup_cosine(iteration: int, total: int, *, warmup: Share, final: Share) -> float:
    """Rise linearly, then fall along half a cosine.

    Args:
        iteration: how many are done, 0 to ``total`` - 1.
        total: how many there will be.
        warmup: share of the iterations that the rise takes.
        final: the factor at the end; 1 keeps the rate constant after the rise.

    Returns:
        A factor in (0, 1]; 1 where the rise ends.

    Example:
        >>> [round(warmup_cosine(i, 4, warmup=0.5, final=0.0), 3) for i in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    rising, progress = _progress(iteration, total, warmup)
    return rising or final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_linear(iteration: int, total: int, *, warmup: Share, final: Share) -> float:
    """Rise linearly, then fall linearly; see ``warmup_cosine`` for the arguments.

    Example:
        >>> [round(warmup_linear(i, 4, warmup=0.0, final=0.0), 3) for i in range(4)]
        [1.0, 0.75, 0.5, 0.25]
    """
    rising, progress = _progress(iteration, total, warmup)
    return rising or final + (1 - final) * (1 - progress)


def _progress(iteration: int, total: int, warmup: float) -> tuple[float | None, float]:
    """The factor of the rise, None after it; and the share of what follows that is over."""
    rise = round(warmup * total)
    if iteration < rise:
        return (iteration + 1) / rise, 0.0
    return None, (iteration - rise) / max(total - rise, 1)
