"""Weights for tokens whose sampler was not quite the policy that learns from them.

A server computes with kernels, a precision, and maybe weights of its own. Truncated importance
sampling, https://fengyao.notion.site/off-policy-rl, multiplies each token's part of the policy loss
by the ratio of its probabilities, which a cap keeps from exploding. Deviation: log-ratios are
clamped to ±20 before ``exp``, as in ``repic.rl.losses``.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from repic.rl.losses import MAX_LOG_RATIO
from repic.values import Positive


@dataclass(frozen=True, kw_only=True)
class Correction:
    """Truncated importance weights.

    Attributes:
        level: "token" for a ratio a token, which is less noisy and slightly biased; "sequence" for
            the product over a caption's tokens.
        cap: no weight is larger.
    """

    level: Literal["token", "sequence"]
    cap: Positive

    def weights(
        self,
        logprobs: Float[Tensor, "N T"],
        sampled: Float[Tensor, "N T"],
        mask: Bool[Tensor, "N T"],
    ) -> Float[Tensor, "N T"]:
        """Return a weight a token, without a gradient; 1 where the mask is False.

        Args:
            logprobs: under the policy, before it learns from these captions.
            sampled: under the sampler.
            mask: True on tokens.

        Example:
            >>> import torch
            >>> ours, its = torch.tensor([[0.5, 0.1]]).log(), torch.tensor([[0.1, 0.2]]).log()
            >>> every = torch.ones(1, 2, dtype=torch.bool)
            >>> Correction(level="token", cap=2.0).weights(ours, its, every)
            tensor([[2.0000, 0.5000]])
            >>> Correction(level="sequence", cap=3.0).weights(ours, its, every)
            tensor([[2.5000, 2.5000]])
        """
        log_ratio = (logprobs.detach() - sampled).masked_fill(~mask, 0.0)
        if self.level == "sequence":
            total = log_ratio.sum(dim=1, keepdim=True)
            log_ratio = total.expand_as(log_ratio).masked_fill(~mask, 0.0)
        return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=self.cap)
