"""What both phases do to gradients and learning rates."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Schedule = Callable[[int, int], float]  # (iteration, how many there are) to the rate's factor


def set_learning_rate(optimizer: Any, factor: float) -> None:
    """Set every group to its initial rate times ``factor``; nothing to save or restore."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def clip_or_drop(
    parameters: list[nn.Parameter], grad_clip: float, *, loss: float
) -> tuple[float, bool]:
    """Scale gradients down to a norm of ``grad_clip``; drop what is not finite.

    Args:
        parameters: with the gradients of all ranks.
        grad_clip: largest norm.
        loss: of all ranks, so that they decide alike; gradients of one that is not finite are
            dropped, whatever they are themselves.

    Returns:
        The norm before clipping, and whether gradients were dropped. An optimizer leaves
        parameters without gradients alone, its moments too, so a batch that was dropped leaves no
        trace.
    """
    norm = float(nn.utils.clip_grad_norm_(parameters, grad_clip))
    is_dropped = not (math.isfinite(norm) and math.isfinite(loss))
    if is_dropped:
        for parameter in parameters:
            parameter.grad = None
    return norm, is_dropped
