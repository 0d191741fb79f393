"""Policy losses as functions of log-probabilities, advantages and token weights.

GRPO, https://arxiv.org/abs/2402.03300, equation 3, and what came after it. Deviations:

1. The KL term is its own function (``kl.py``); the caller adds it with its coefficient.
2. How tokens and sequences are averaged is the caller's choice (``token_weights``); the paper's
   is ``sequence_mean``. The published algorithms differ in this and call it by the same name.
3. The clip range may differ above and below, as in DAPO, https://arxiv.org/abs/2503.14476, eq. 10.
4. The log-ratio is clamped to ±20 before ``exp``, so that one stray token with a negative
   advantage, whose ratio nothing clips, cannot make the loss infinite.

The arguments are the same everywhere; see ``grpo_loss``.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from repic.values import NonNegative

MAX_LOG_RATIO = 20.0
AGGREGATIONS = ("sequence_mean", "token_mean", "constant")


def token_weights(
    loss_mask: Bool[Tensor, "N T"],
    *,
    aggregation: str,
    num_sequences: int,
    num_tokens: int,
    max_tokens: int,
) -> Float[Tensor, "N T"]:
    """Weigh every token, so that a loss is the weighted sum of its tokens' terms.

    All denominators are counts over the WHOLE iteration (every micro-batch, every rank): then the
    losses of the micro-batches add up to the loss of the batch, and their gradients too.

    - ``sequence_mean``: the mean over sequences of the mean over a sequence's tokens; GRPO,
      https://arxiv.org/abs/2402.03300, equation 3. A token of a long caption counts less.
    - ``token_mean``: the mean over all tokens; DAPO, https://arxiv.org/abs/2503.14476, eq. 12.
    - ``constant``: the sum over all tokens divided by sequences times ``max_tokens``; Dr. GRPO,
      https://arxiv.org/abs/2503.20783, section 3.2.

    Args:
        loss_mask: True where a token is trained on.
        aggregation: one of ``AGGREGATIONS``.
        num_sequences: completions in the whole iteration.
        num_tokens: tokens trained on in the whole iteration.
        max_tokens: the longest completion that sampling allows.

    Returns:
        Weights, exactly zero where the mask is False. Over a whole iteration they sum to 1
        (``constant``: to at most 1); a sequence without trained tokens has only zeros.

    Example:
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> sizes = {"num_sequences": 2, "num_tokens": 3, "max_tokens": 4}
        >>> token_weights(mask, aggregation="sequence_mean", **sizes)
        tensor([[0.2500, 0.2500],
                [0.5000, 0.0000]])
    """
    weights = loss_mask.to(torch.get_default_dtype())
    if aggregation == "sequence_mean":
        lengths = weights.sum(dim=1, keepdim=True)
        return weights / (lengths.clamp(min=1) * num_sequences)
    if aggregation == "token_mean":
        return weights / num_tokens
    if aggregation == "constant":
        return weights / (num_sequences * max_tokens)
    raise ValueError(f"loss: aggregation {aggregation!r} is not one of {', '.join(AGGREGATIONS)}")


class PolicyLoss(NamedTuple):
    """A loss to minimize, and the number of tokens whose gradient the clip stopped or limited.

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
    clip_eps_low: NonNegative,
    clip_eps_high: NonNegative,
) -> PolicyLoss:
    """Clipped policy-gradient loss: lower is better, minus the objective of the paper.

    Args:
        logprobs: of the sampled tokens under the policy in training.
        old_logprobs: of the same tokens under the policy that sampled them. None means that it is
            the same policy (the first update after sampling): then every ratio is 1, nothing is
            clipped, and the gradient is that of REINFORCE with these advantages.
        advantages: one for a rollout, given to each of its tokens.
        token_weights: of the function of that name; a token of weight 0 reaches neither the
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
    _, log_ratio = _masked(logprobs, old_logprobs, token_weights)
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    gain = ratio * advantages[:, None]
    clipped_gain = ratio.clamp(1 - clip_eps_low, 1 + clip_eps_high) * advantages[:, None]
    loss = -(torch.minimum(gain, clipped_gain) * token_weights).sum()
    return PolicyLoss(loss, (clipped_gain < gain).sum())  # never where masked: the ratio is 1


def gspo_loss(
    logprobs: Float[Tensor, "N T"],
    old_logprobs: Float[Tensor, "N T"] | None,
    advantages: Float[Tensor, " N"],
    token_weights: Float[Tensor, "N T"],
    *,
    clip_eps_low: NonNegative,
    clip_eps_high: NonNegative,
) -> PolicyLoss:
    """Clipped policy-gradient loss with one ratio for a sequence: its tokens' geometric mean.

    GSPO, https://arxiv.org/abs/2507.18071, equations 5 and 7, with ``sequence_mean``. A sequence is
    clipped as a whole, and all its tokens count as clipped.

    Args:
        clip_eps_low, clip_eps_high: hundreds of times smaller than GRPO's, since a mean over tokens
            hardly moves.

    Example:
        >>> old = torch.log(torch.tensor([[0.5, 0.5]]))
        >>> new = torch.log(torch.tensor([[0.6, 0.6]]))
        >>> weights, advantages = torch.full((1, 2), 0.5), torch.tensor([1.0])
        >>> gspo_loss(new, old, advantages, weights, clip_eps_low=0.1, clip_eps_high=0.1).loss
        tensor(-1.1000)
    """
    _, log_ratio = _masked(logprobs, old_logprobs, token_weights)
    is_trained = token_weights != 0
    mean = log_ratio.sum(dim=1) / is_trained.sum(dim=1).clamp(min=1)
    ratio = mean.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    gain = ratio * advantages
    clipped_gain = ratio.clamp(1 - clip_eps_low, 1 + clip_eps_high) * advantages
    loss = -(torch.minimum(gain, clipped_gain)[:, None] * token_weights).sum()
    return PolicyLoss(loss, ((clipped_gain < gain)[:, None] & is_trained).sum())


def cispo_loss(
    logprobs: Float[Tensor, "N T"],
    old_logprobs: Float[Tensor, "N T"] | None,
    advantages: Float[Tensor, " N"],
    token_weights: Float[Tensor, "N T"],
    *,
    clip_eps_low: NonNegative,
    clip_eps_high: NonNegative,
) -> PolicyLoss:
    """REINFORCE with importance weights that are clipped and have no gradient of their own.

    CISPO of MiniMax-M1, https://arxiv.org/abs/2506.13585, equations 4 and 5, with ``token_mean``.
    Where GRPO's clip takes a token's gradient away, this one limits its weight. TRL's
    ``epsilon_high`` is the largest weight itself, which is 1 + ``clip_eps_high`` here.

    Args:
        clip_eps_low, clip_eps_high: weights lie between 1 - low (1.0: no bound) and 1 + high.

    Example:
        >>> half = torch.log(torch.tensor([[0.5]]))
        >>> weights, advantages = torch.ones(1, 1), torch.tensor([1.0])
        >>> cispo_loss(
        ...     half, half - 3, advantages, weights, clip_eps_low=1.0, clip_eps_high=1.0
        ... ).loss  # 2 × -log(1/2); the ratio e³ is clipped to 2
        tensor(1.3863)
    """
    logprobs, log_ratio = _masked(logprobs, old_logprobs, token_weights)
    ratio = log_ratio.detach().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    weight = ratio.clamp(1 - clip_eps_low, 1 + clip_eps_high)
    loss = -(weight * advantages[:, None] * logprobs * token_weights).sum()
    return PolicyLoss(loss, (weight != ratio).sum())  # never where masked: the ratio is 1


def reinforce_loss(
    logprobs: Float[Tensor, "N T"],
    old_logprobs: Float[Tensor, "N T"] | None,
    advantages: Float[Tensor, " N"],
    token_weights: Float[Tensor, "N T"],
) -> PolicyLoss:
    """Advantage times log-probability: purely on-policy, without ratio and clip.

    REINFORCE, https://doi.org/10.1007/BF00992696. Its gradient is that of the others
    on the first update after sampling; a second one would be biased, and is refused.

    Example:
        >>> half = torch.log(torch.tensor([[0.5]]))
        >>> reinforce_loss(half, None, torch.tensor([2.0]), torch.ones(1, 1)).loss
        tensor(1.3863)
    """
    if old_logprobs is not None:
        raise ValueError(
            "loss: reinforce has no ratio that makes up for a policy that has moved on since"
            " sampling; use phase.grpo.num_updates=1, or loss=grpo"
        )
    logprobs, _ = _masked(logprobs, None, token_weights)
    loss = -(logprobs * advantages[:, None] * token_weights).sum()
    return PolicyLoss(loss, torch.zeros((), dtype=torch.long, device=loss.device))


def _masked(
    logprobs: Tensor, old_logprobs: Tensor | None, token_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and log-ratios, 0 where a token has no weight.

    Before any exp: afterwards the loss would be finite but the gradient 0 * inf = NaN.
    """
    is_masked = token_weights == 0
    logprobs = logprobs.masked_fill(is_masked, 0.0)
    if old_logprobs is None:
        old_logprobs = logprobs.detach()
    return logprobs, logprobs - old_logprobs.masked_fill(is_masked, 0.0)
