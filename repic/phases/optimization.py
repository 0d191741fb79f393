"""What both phases do to gradients and learning rates."""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import nn

from repic.models.sharding import whole
from repic.values import LEAST, Positive, Share, ShareBelow1

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Schedule = Callable[[int, int], float]  # (iteration, how many there are) to the rate's factor


def adamw(
    params: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Ge(LEAST), Le(1)],
    betas: tuple[ShareBelow1, ShareBelow1],
    weight_decay: Share,
    eps: Positive = 1e-8,
    fused: bool | None = None,
) -> torch.optim.AdamW:
    """AdamW, https://arxiv.org/abs/1711.05101: torch's, with the ranges in which it trains.

    Args:
        params: what is trained.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        weight_decay: share of a weight that a step at a learning rate of 1 takes off.
        eps: added to the root of the second mean.
        fused: one kernel for all parameters; None: torch chooses.
    """
    return torch.optim.AdamW(
        params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused
    )


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
    norm = float(whole(nn.utils.clip_grad_norm_(parameters, grad_clip)))
    is_dropped = not (math.isfinite(norm) and math.isfinite(loss))
    if is_dropped:
        for parameter in parameters:
            parameter.grad = None
    return norm, is_dropped
