"""Log-probabilities of the tokens of completions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class TokenLogprobs(NamedTuple):
    """What a policy says about given completions, padded on the right to one length.

    ``mask`` is True on completion tokens, the end token among them: it is the loss mask. Where it
    is False, ``logprobs`` and ``entropy`` are 0. ``entropy`` carries no gradient.
    """

    logprobs: Float[Tensor, "N T"]
    mask: Bool[Tensor, "N T"]
    entropy: Float[Tensor, "N T"]


def pad_completions(
    completions: Sequence[Int[Tensor, " _"]],
) -> tuple[Int[Tensor, "N T"], Bool[Tensor, "N T"]]:
    """Lay completions of different lengths in rows.

    Returns:
        The tokens (0 on padding) and a mask that is True on tokens.
    """
    lengths = torch.tensor([len(ids) for ids in completions])
    ids = torch.nn.utils.rnn.pad_sequence(list(completions), batch_first=True)
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def token_logprobs(
    logits: Float[Tensor, "tokens V"], ids: Int[Tensor, " tokens"]
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Return each given token's log-probability at temperature 1, and the entropy (no gradient).

    Both are computed in float32 whatever the logits' precision.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> token_logprobs(logits, torch.tensor([1]))
        (tensor([-0.6931]), tensor([0.6931]))
    """
    all_logprobs = logits.float().log_softmax(dim=-1)
    with torch.no_grad():
        # A token of no probability adds nothing, where 0 times -inf would be NaN.
        probs = all_logprobs.exp()
        entropy = -(probs * all_logprobs.clamp(min=torch.finfo(torch.float32).min)).sum(dim=-1)
    return all_logprobs.gather(-1, ids[:, None]).squeeze(-1), entropy
