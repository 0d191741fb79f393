"""Whether weights are numbers that a model can compute with."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def not_finite(weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Return the names of those that hold NaN or an infinite number."""
    return [
        name
        for name, weight in weights
        if weight.numel() and weight.is_floating_point() and not _is_finite(weight.detach())
    ]


def few(names: Sequence[str]) -> str:
    """Name the first few, for a message.

    Example:
        >>> few(["a", "b", "c", "d", "e"])
        'a, b, c and 2 others'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def _is_finite(weight: Tensor) -> bool:
    return bool(torch.stack(weight.aminmax()).isfinite().all())
