"""Log-probabilities of the tokens of completions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Logits in memory at once: 256 MiB in float32, about 440 tokens of Qwen2.5-VL's vocabulary.
_LOGITS = 2**26


class TokenLogprobs(NamedTuple):
    """What a policy says about given completions, padded on the right to one length.

    ``mask`` is True on completion tokens, the end token among them: it is the loss mask. Where it
    is False, ``logprobs`` and ``entropy`` are 0. ``entropy`` carries no gradient, and is None
    unless it was asked for.
    """

    logprobs: Float[Tensor, "N T"]
    mask: Bool[Tensor, "N T"]
    entropy: Float[Tensor, "N T"] | None


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


def draw_jumps(length: int, share: float) -> Int[Tensor, " length"]:
    """How far the positions of an answer's tokens are moved on, so that none counts on their pace.

    In half of the answers nothing is moved. In the others positions jump by 1 to 8 before some
    tokens, of which the share is drawn, too. Randomized positions: https://arxiv.org/abs/2305.16843,
    which draws them for all tokens.

    Args:
        share: the largest share of tokens with a jump; 0 draws nothing.
    """
    if not (share and length) or torch.rand(()) < 0.5:
        return torch.zeros(length, dtype=torch.long)
    share = share * torch.rand(()).item()
    return ((torch.rand(length) < share) * torch.randint(1, 9, (length,))).cumsum(0)


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


def chosen_logprobs(
    logits: Float[Tensor, "tokens V"], ids: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Return each given token's log-probability at temperature 1, in float32."""
    return logits.float().log_softmax(dim=-1).gather(-1, ids[:, None]).squeeze(-1)


def score(
    hidden: Float[Tensor, "tokens H"],
    completions: Sequence[Int[Tensor, " _"]],
    head: Callable[[Tensor], Tensor],
    *,
    vocabulary: int,
    entropy: bool,
    max_logits: int = _LOGITS,
) -> TokenLogprobs:
    """Score completions from the hidden states that predict their tokens.

    The head is applied to a portion of the tokens at a time, and again in the backward pass, so
    that logits of all tokens are never in memory together.

    Args:
        hidden: one completion's tokens after another.
        head: from hidden states to logits.
        vocabulary: V, the number of logits.
        entropy: also compute the distribution's entropy at every token.
        max_logits: how many numbers a portion's logits may be.
    """
    # Laid out where their number is known without waiting for a GPU.
    mask = pad_completions(completions)[1].to(hidden.device)
    flat = torch.cat(list(completions)).to(hidden.device)
    size = max(max_logits // vocabulary, 1)
    many = len(flat) > size and torch.is_grad_enabled()

    def portion(states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        logits = head(states)
        return (
            token_logprobs(logits, tokens) if entropy else (chosen_logprobs(logits, tokens), None)
        )

    parts = [
        checkpoint(portion, states, tokens, use_reentrant=False)
        if many
        else portion(states, tokens)
        for states, tokens in zip(hidden.split(size), flat.split(size), strict=True)
    ]
    logprobs, entropies = zip(*parts, strict=True)
    zeros = torch.zeros(mask.shape, device=mask.device)
    return TokenLogprobs(
        zeros.masked_scatter(mask, torch.cat(logprobs)),
        mask,
        zeros.masked_scatter(mask, torch.cat(entropies)) if entropy else None,
    )
