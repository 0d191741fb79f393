"""How much every trained token counts in the loss of one iteration.

The published algorithms differ in this and call it by the same name, so it has a name of its own
here. All denominators are counts over the WHOLE iteration (every micro-batch, every rank): then
the losses of the micro-batches add up to the loss of the batch, and their gradients too.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
