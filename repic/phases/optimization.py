"""What both phases do to gradients and learning rates."""

import math
from typing import Any

from torch import nn


def set_learning_rate(optimizer: Any, factor: float) -> None:
    """Set every group to its initial rate times ``factor``; nothing to save or restore."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def clip_or_drop(parameters: list[nn.Parameter], grad_clip: float) -> float:
    """Scale gradients down to a norm of ``grad_clip``; without a finite norm, drop them.

    Returns:
        The norm before clipping. An optimizer leaves parameters without gradients alone, its
        moments too, so a batch that was dropped leaves no trace.
    """
    norm = float(nn.utils.clip_grad_norm_(parameters, grad_clip))
    if not math.isfinite(norm):
        for parameter in parameters:
            parameter.grad = None
    return norm
