"""Learning-rate schedules: the factor at an iteration, a function without state."""

import math


def warmup_cosine(iteration: int, total: int, *, warmup: float, final: float) -> float:
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
    rise = round(warmup * total)
    if iteration < rise:
        return (iteration + 1) / rise
    progress = (iteration - rise) / max(total - rise, 1)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
