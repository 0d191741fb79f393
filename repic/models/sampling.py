"""Choose tokens at random, one stream of random numbers per rollout.

A rollout's numbers follow from the seed, the example and the rollout's place in its group alone:
neither the batch that it happens to be in, nor how long its neighbours are, changes what is drawn.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repic.types import Example


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How captions are drawn.

    Args:
        temperature: divides the logits; 0 takes the likeliest token (greedy).
        top_p: keep the fewest likeliest tokens whose probability reaches this; 1 keeps all.
        top_k: keep this many likeliest tokens; 0 keeps all.
        max_new_tokens: a completion is cut at this length.
    """

    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int

    def __post_init__(self) -> None:
        wrong = {
            "temperature": self.temperature < 0,
            "top_p": not 0 < self.top_p <= 1,
            "top_k": self.top_k < 0,
            "max_new_tokens": self.max_new_tokens < 1,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise ValueError(f"sampling.{name}: {getattr(self, name)} is out of range")


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

    Example:
        >>> plain = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=1)
        >>> logits = torch.tensor([[0.2, 0.5, 0.3]]).log().expand(3, 3)
        >>> sample_tokens(logits, torch.tensor([0.1, 0.6, 0.8]), plain)
        tensor([0, 1, 2])
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # Double precision: a sum over a large vocabulary must not lose its rare tokens.
    probs = (logits.double() / sampling.temperature).softmax(dim=-1)
    probs = _truncate(probs, top_k=sampling.top_k, top_p=sampling.top_p)
    cumulative = probs.cumsum(dim=-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    # The first token whose cumulative probability is beyond the threshold: never one of no
    # probability, as that adds nothing to the sum.
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)


def _truncate(probs: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Set the probability of the tokens that are not kept to zero; top-k comes first."""
    if 0 < top_k < probs.shape[-1]:
        probs = probs.where(probs >= probs.topk(top_k).values[:, -1:], 0.0)
    if top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True)
        ahead = ordered.cumsum(dim=-1) - ordered
        kept = ahead < top_p * ordered.sum(dim=-1, keepdim=True)  # the likeliest always is
        probs = torch.zeros_like(probs).scatter(-1, order, ordered.where(kept, 0.0))
    return probs
