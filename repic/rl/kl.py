"""Estimators of KL(policy || reference) from sampled tokens.

http://joschu.net/blog/kl-approx.html; with r = p_reference(token) / p_policy(token), a token that
the policy sampled gives

- ``k1`` = -log r: unbiased, high variance, may be negative. Its gradient is zero in expectation,
  so it is for watching, or for use inside the reward, not as a loss;
- ``k2`` = (log r)² / 2: biased, and its gradient is that of the KL;
- ``k3`` = r - 1 - log r: unbiased and never negative; the one of GRPO,
  https://arxiv.org/abs/2402.03300, equation 4. Its gradient is not that of this KL, but, in
  expectation, that of KL(reference || policy);
- ``k3+``: the value of k3 with the gradient of k2 (straight-through), as in verl: unbiased, never
  negative, and pulling as the KL does.

Deviation: in ``k3`` log r is clamped to ±10, because ``exp`` overflows on tokens that the
reference finds all but impossible. Past the clamp k3 is constant and has no gradient; that of
``k3+`` goes on.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

MAX_LOG_RATIO = 10.0


class KlPenalty(NamedTuple):
    """The term to add to the loss, and the plain sum over trained tokens to log.

    Both add up over micro-batches; ``token_sum`` (detached) over the iteration's tokens is the KL
    per token.
    """

    penalty: Float[Tensor, ""]
    token_sum: Float[Tensor, ""]


def k1_kl(
    logprobs: Float[Tensor, "N T"], ref_logprobs: Float[Tensor, "N T"]
) -> Float[Tensor, "N T"]:
    """The log-ratio itself."""
    return logprobs - ref_logprobs


def k2_kl(
    logprobs: Float[Tensor, "N T"], ref_logprobs: Float[Tensor, "N T"]
) -> Float[Tensor, "N T"]:
    """Half the squared log-ratio."""
    return (logprobs - ref_logprobs).square() / 2


def k3_kl(
    logprobs: Float[Tensor, "N T"], ref_logprobs: Float[Tensor, "N T"]
) -> Float[Tensor, "N T"]:
    """The log-ratio with a control variate; never negative, zero where the two agree."""
    log_ratio = (ref_logprobs - logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    # expm1 keeps the digits that exp(x) - 1 loses when policy and reference nearly agree.
    return log_ratio.expm1() - log_ratio


def k3_straight_through_kl(
    logprobs: Float[Tensor, "N T"], ref_logprobs: Float[Tensor, "N T"]
) -> Float[Tensor, "N T"]:
    """The value of k3, and the gradient of k2."""
    k2 = k2_kl(logprobs, ref_logprobs)
    return k3_kl(logprobs, ref_logprobs).detach() + (k2 - k2.detach())


ESTIMATORS = {"k1": k1_kl, "k2": k2_kl, "k3": k3_kl, "k3+": k3_straight_through_kl}


def kl_penalty(
    logprobs: Float[Tensor, "N T"],
    ref_logprobs: Float[Tensor, "N T"],
    token_weights: Float[Tensor, "N T"],
    *,
    estimator: str,
) -> KlPenalty:
    """How far the policy has moved from the reference, before the coefficient.

    Args:
        logprobs: of the sampled tokens under the policy in training.
        ref_logprobs: of the same tokens under the frozen reference.
        token_weights: of ``losses.token_weights``, the same as the policy loss is given; a
            token of weight 0 reaches neither the penalty nor the gradient.
        estimator: one of ``ESTIMATORS``.

    Returns:
        The penalty of these rollouts as their share of the iteration's.

    Example:
        >>> import torch
        >>> logprobs, weights = torch.zeros(1, 1), torch.ones(1, 1)
        >>> kl_penalty(logprobs, logprobs - 1, weights, estimator="k3").penalty  # 1/e
        tensor(0.3679)
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"kl: estimator {estimator!r} is not one of {', '.join(ESTIMATORS)}")
    is_masked = token_weights == 0
    # Before exp: afterwards the loss would be finite but the gradient 0 * inf = NaN.
    values = ESTIMATORS[estimator](
        logprobs.masked_fill(is_masked, 0.0), ref_logprobs.masked_fill(is_masked, 0.0)
    )
    return KlPenalty((values * token_weights).sum(), values.detach().sum())
