"""Tokens that are added to a model's vocabulary, and are all of it that learns.

A model's own rows stay where they are and are only read: they cannot move by a bit. The new ones
are tensors beside them, which an engine meets wherever it looks tokens up or applies the head. So
systems that learn vectors for a friend run on any model and engine that repic has.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from tokenizers import AddedToken
from torch import Tensor, nn

from repic.models.policy import Policy


class SoftTokens:
    """New tokens of a policy: their embeddings and, if they can be said, their rows of the head.

    A policy can have them once. ``rows`` and ``head`` may be set again at any time, to tensors with
    gradients or without; ``head`` None leaves the logits as they are.

    Args:
        policy: gets them; its own weights are frozen.
        hidden: tokens that no decoded text shows.
        words: tokens that are read and said as they are written, such as a name.

    Attributes:
        rows: of new tokens, ``words`` before ``hidden``.
        head: of the same.

    Raises:
        ValueError: the family cannot take them; or a word is one token already, and so nothing new.
    """

    def __init__(self, policy: Policy, *, hidden: Sequence[str], words: Sequence[str] = ()) -> None:
        tokenizer, network = policy.encoder.tokenizer, policy.network
        if policy.family.unpackable is not None:
            raise ValueError(
                f"{policy.source}: vectors cannot be put into its prompts, as"
                f" {policy.family.unpackable}; choose another model"
            )
        refuse_known(policy, words)
        self.policy, self.first = policy, len(tokenizer)
        tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
        tokens = [AddedToken(token, special=True, normalized=False) for token in hidden]
        tokenizer.add_tokens(tokens, special_tokens=True)
        policy.requires_grad_(False)
        embeddings, head = network.get_input_embeddings(), network.get_output_embeddings()
        self.rows: Tensor = embeddings.weight.new_zeros(0, embeddings.embedding_dim)
        self.head: Tensor | None = None
        network.set_input_embeddings(_Embeddings(embeddings, self))
        network.set_output_embeddings(_Head(head, self))


def refuse_known(policy: Policy, words: Sequence[str]) -> None:
    """Raise for a word that would be no new token."""
    known = policy.encoder.tokenizer.get_vocab()
    for word in words:
        if word in known:
            raise ValueError(
                f"{word} is one token of {policy.source} already, so nothing new can be learnt for"
                " it; give the friend another name"
            )


class _Embeddings(nn.Module):
    def __init__(self, inner: Any, soft: SoftTokens) -> None:
        super().__init__()
        self.inner, self.soft = inner, soft
        self.num_embeddings, self.embedding_dim = inner.num_embeddings, inner.embedding_dim

    @property
    def weight(self) -> Tensor:
        return self.inner.weight

    def forward(self, ids: Int[Tensor, "..."]) -> Float[Tensor, "... H"]:
        places = ids - self.soft.first
        known = self.inner(ids.where(places < 0, 0))
        if not len(self.soft.rows):
            return known
        new = self.soft.rows.to(known.dtype)[places.clamp(0, len(self.soft.rows) - 1)]
        return new.where((places >= 0)[..., None], known)


class _Head(nn.Module):
    def __init__(self, inner: Any, soft: SoftTokens) -> None:
        super().__init__()
        self.inner, self.soft = inner, soft

    @property
    def weight(self) -> Tensor:
        return self.inner.weight

    @property
    def out_features(self) -> int:
        new = 0 if self.soft.head is None else len(self.soft.head)
        return max(self.inner.out_features, self.soft.first + new)

    def forward(self, hidden: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
        logits = self.inner(hidden)
        if self.soft.head is None:
            return logits
        # A matrix may have more rows than there are tokens; the first of them are taken.
        first, end = self.soft.first, self.soft.first + len(self.soft.head)
        new = hidden @ self.soft.head.to(hidden.dtype).T
        return torch.cat([logits[..., :first], new, logits[..., end:]], dim=-1)
