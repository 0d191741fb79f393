"""Policy losses as functions of log-probabilities, advantages and token weights.

GRPO, https://arxiv.org/abs/2402.03300, equation 3. Deviations:

1. The KL term is its own function (``kl.py``); the caller adds it with its coefficient.
2. How tokens and sequences are averaged is the caller's choice (``aggregation.py``); the paper's
   is ``sequence_mean``.
3. The clip range may differ above and below, as in DAPO, https://arxiv.org/abs/2503.14476, eq. 10.
4. The log-ratio is clamped to ±20 before ``exp``, so that one stray token with a negative
   advantage, whose ratio nothing clips, cannot make the loss infinite.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

MAX_LOG_RATIO = 20.0


class PolicyLoss(NamedTuple):
    """A loss to minimize, and the number of tokens whose gradient the clip stopped.

    Both add up over micro-batches; ``num_clipped`` over the iteration's tokens is the clip
    fraction.
    """

    loss: Float[Tensor, ""]
    num_clipped: Integer[Tensor, ""]


def grpo_loss(
    logprobs: Float[Tensor, "N T"],
    old_logprobs: Float[Tensor, "N T"] | None,
    advantages: Float[Tensor, " N"],
    token_weights: Float[Tensor, "N T"],
    *,
    clip_eps_low: float,
    clip_eps_high: float,
) -> PolicyLoss:
    """Clipped policy-gradient loss: lower is better, minus the objective of the paper.

    Args:
        logprobs: of the sampled tokens under the policy in training.
        old_logprobs: of the same tokens under the policy that sampled them. None means that it is
            the same policy (the first update after sampling): then every ratio is 1, nothing is
            clipped, and the gradient is that of REINFORCE with these advantages.
        advantages: one for a rollout, given to each of its tokens.
        token_weights: of ``aggregation.token_weights``; a token of weight 0 reaches neither the
            loss nor the gradient, whatever its log-probabilities are.
        clip_eps_low, clip_eps_high: ratios below 1 - low or above 1 + high gain nothing more.

    Returns:
        The loss of these rollouts as their share of the iteration's.

    Example:
        >>> half = torch.log(torch.tensor([[0.5]]))
        >>> weights, advantages = torch.ones(1, 1), torch.tensor([2.0])
        >>> grpo_loss(
        ...     half, half - 1, advantages, weights, clip_eps_low=0.2, clip_eps_high=0.2
        ... ).loss  # the ratio e is clipped to 1.2
        tensor(-2.4000)
    """
    is_masked = token_weights == 0
    # Before exp: afterwards the loss would be finite but the gradient 0 * inf = NaN.
    logprobs = logprobs.masked_fill(is_masked, 0.0)
    if old_logprobs is None:
        old_logprobs = logprobs.detach()
    log_ratio = logprobs - old_logprobs.masked_fill(is_masked, 0.0)
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    gain = ratio * advantages[:, None]
    clipped_gain = ratio.clamp(1 - clip_eps_low, 1 + clip_eps_high) * advantages[:, None]
    loss = -(torch.minimum(gain, clipped_gain) * token_weights).sum()
    return PolicyLoss(loss, (clipped_gain < gain).sum())  # never where masked: the ratio is 1
