"""Choose tokens at random, one stream of random numbers per rollout.

A rollout's numbers follow from the seed, the example and the rollout's place in its group alone:
neither the batch that it happens to be in, nor how long its neighbours are, changes what is drawn.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import MinLen
from jaxtyping import Float, Int
from torch import Tensor

from repic.types import Example
from repic.values import Amount, PositiveShare, Share, Temperature, Whole


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How captions are drawn.

    Args:
        temperature: divides the logits; 0 takes the likeliest token (greedy).
        top_p: keep the fewest likeliest tokens whose probability reaches this; 1 keeps all.
        top_k: keep this many likeliest tokens; 0 keeps all.
        min_p: keep tokens at least this many times as likely as the likeliest,
            https://arxiv.org/abs/2407.01082; 0 keeps all.
        max_new_tokens: a completion is cut at this length.
        stop: a completion ends where its text contains one of these; its text ends before it.
    """

    temperature: Temperature
    top_p: PositiveShare
    top_k: Whole
    min_p: Share
    max_new_tokens: Amount
    stop: Sequence[Annotated[str, MinLen(1)]]

    def __post_init__(self) -> None:
        wrong = {
            "temperature": self.temperature < 0,
            "top_p": not 0 < self.top_p <= 1,
            "top_k": self.top_k < 0,
            "min_p": not 0 <= self.min_p <= 1,
            "stop": isinstance(self.stop, str) or not all(self.stop),
            "max_new_tokens": self.max_new_tokens < 1,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise ValueError(f"sampling.{name}: {getattr(self, name)!r} is out of range")


class TooLongError(ValueError):
    """A prompt leaves no room for a completion in the model's context."""


class NotFiniteError(ValueError):
    """A model's logits are NaN or infinite, so that no token can be drawn from them.

    Args:
        rows: of the batch that have such logits.
        step: the token that was to be drawn, from 0.
        place: whose captions these are.
        reason: what is known of it.
    """

    def __init__(
        self, rows: Sequence[int], step: int, *, place: str = "a caption", reason: str = ""
    ) -> None:
        super().__init__(
            f"{place}: the model's logits of token {step + 1} are NaN or infinite{reason}"
        )
        self.rows, self.step = tuple(rows), step


def check_lengths(
    lengths: Sequence[int], examples: Sequence[Example], *, max_length: int, sampling: Sampling
) -> None:
    """Refuse a prompt that leaves no room for a completion in the model's context.

    Args:
        lengths: of the examples' prompts, in tokens.
        max_length: of the model's context.
    """
    for length, example in zip(lengths, examples, strict=True):
        if length + sampling.max_new_tokens > max_length:
            raise TooLongError(
                f"example {example.id}: a prompt of {length} tokens and"
                f" sampling.max_new_tokens={sampling.max_new_tokens} exceed the model's"
                f" {max_length}; lower it, model.max_pixels, or the number of references"
            )


def rollout_uniforms(
    examples: Sequence[Example], *, group_size: int, length: int, seed: int
) -> Float[Tensor, "N T"]:
    """Draw, for every rollout, as many numbers from [0, 1) as it can have tokens.

    Rows are group-major. Examples with one ``id`` get one stream, so ids should differ in a batch.
    """
    rows = []
    for example in examples:
        for member in range(group_size):
            name = f"{seed}/{example.id}/{member}".encode()
            state = int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True)
            generator = torch.Generator().manual_seed(state)
            rows.append(torch.rand(length, generator=generator, dtype=torch.float64))
    return torch.stack(rows)


def sample_tokens(
    logits: Float[Tensor, "N V"], uniforms: Float[Tensor, " N"], sampling: Sampling
) -> Int[Tensor, " N"]:
    """Draw one token a row by inverting the distribution function at ``uniforms``.

    Of logits that are NaN or infinite nothing can be drawn; a token of the vocabulary is returned
    all the same, whose log-probability is no finite number.

    Example:
        >>> plain = Sampling(
        ...     temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, max_new_tokens=1, stop=()
        ... )
        >>> logits = torch.tensor([[0.2, 0.5, 0.3]]).log().expand(3, 3)
        >>> sample_tokens(logits, torch.tensor([0.1, 0.6, 0.8]), plain)
        tensor([0, 1, 2])
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # Double precision: a sum over a large vocabulary must not lose its rare tokens.
    probs = (logits.double() / sampling.temperature).softmax(dim=-1)
    probs = _truncate(probs, sampling)
    cumulative = probs.cumsum(dim=-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    # The first token whose cumulative probability is beyond the threshold: never one of no
    # probability, as that adds nothing to the sum.
    drawn = torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)
    return drawn.clamp(max=logits.shape[-1] - 1)  # beyond it where there is NaN


def _truncate(probs: Tensor, sampling: Sampling) -> Tensor:
    """Set the probability of what is not kept to zero: top-k first, then top-p, then min-p."""
    if 0 < sampling.top_k < probs.shape[-1]:
        probs = probs.where(probs >= probs.topk(sampling.top_k).values[:, -1:], 0.0)
    if sampling.top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True)
        ahead = ordered.cumsum(dim=-1) - ordered
        # The likeliest token always is among them.
        kept = ahead < sampling.top_p * ordered.sum(dim=-1, keepdim=True)
        probs = torch.zeros_like(probs).scatter(-1, order, ordered.where(kept, 0.0))
    if sampling.min_p > 0:
        probs = probs.where(probs >= sampling.min_p * probs.amax(dim=-1, keepdim=True), 0.0)
    return probs
