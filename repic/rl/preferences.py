"""Direct preference optimization: of two answers the better one becomes the likelier.

Rafailov et al. 2023 (https://arxiv.org/abs/2305.18290, equation 7).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def preference_margin(
    logprobs: Float[Tensor, "N 2"], reference: Float[Tensor, "N 2"], *, beta: float
) -> Float[Tensor, " N"]:
    """By how much the better answer has gained on the worse one since the reference.

    Args:
        logprobs: of whole answers under the policy, in nats; the better one comes first.
        reference: the same under the reference.
        beta: nats of margin for a nat gained; the larger, the nearer the policy stays.

    Example:
        >>> import torch
        >>> policy, reference = torch.tensor([[-1.0, -5.0]]), torch.tensor([[-2.0, -3.0]])
        >>> preference_margin(policy, reference, beta=0.5).tolist()
        [1.5]
    """
    gained = logprobs - reference
    return beta * (gained[:, 0] - gained[:, 1])


def preference_loss(margins: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Minus the log-probability, by Bradley and Terry's model, that the better answer is chosen."""
    return -F.logsigmoid(margins)
