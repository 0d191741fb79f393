"""The loop that draws completions token by token, whatever computes the logits."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repic.models.encoder import PromptEncoder
from repic.models.engine.logprobs import chosen_logprobs
from repic.models.engine.sampling import NotFiniteError, Sampling, sample_tokens
from repic.models.policy import Policy
from repic.types import Example, Rollout

_listener: ContextVar[Callable[[str], object] | None] = ContextVar("listener", default=None)


@contextmanager
def heard(listener: Callable[[str], object]) -> Iterator[None]:
    """Tell somebody the first completion of every batch as far as it is drawn, token by token.

    In this thread, or whatever shares its context.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@runtime_checkable
class Decoder(Protocol):
    """A batch of rollouts in the making, one a row."""

    @property
    def logits(self) -> Float[Tensor, "rows V"]:
        """Of each row's next token."""
        ...

    def keep(self, is_going: Bool[Tensor, " rows"]) -> Int[Tensor, " kept"]:
        """Let finished rows leave, as many as it pays for; return which rows are left."""
        ...

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Feed each row its next token."""
        ...


@dataclass(frozen=True)
class Drawn:
    """Completions in rows, on the CPU; what follows ``lengths`` is meaningless."""

    tokens: Int[Tensor, "N T"]
    logprobs: Float[Tensor, "N T"]
    lengths: Int[Tensor, " N"]
    finished: Bool[Tensor, " N"]

    @classmethod
    def joined(cls, parts: "Sequence[Drawn]") -> "Drawn":
        """Lay the rows of several parts below one another."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.inference_mode()
def draw(
    decoder: Decoder,
    uniforms: Float[Tensor, "N T"],
    *,
    policy: Policy,
    sampling: Sampling,
) -> Drawn:
    """Decode until every rollout has ended or is as long as allowed.

    A step is many small operations, each of which costs less without autograd's book-keeping.

    Args:
        uniforms: the random numbers of each rollout, one a token.

    Raises:
        NotFiniteError: before a token is fed to the model that was drawn from such logits.
    """
    num_rollouts, max_length = uniforms.shape
    uniforms = uniforms.to(policy.device)
    device = policy.device
    ends = Ends(policy, sampling)
    listener = _listener.get()
    tokens = torch.zeros(num_rollouts, max_length, dtype=torch.long, device=device)
    logprobs = torch.zeros(num_rollouts, max_length, device=device)
    lengths = torch.zeros(num_rollouts, dtype=torch.long, device=device)
    finished = torch.zeros(num_rollouts, dtype=torch.bool, device=device)
    rows = torch.arange(num_rollouts, device=device)  # the rollout in each of the decoder's rows
    places: slice | Tensor = slice(None)  # of the rows that have not ended: all
    for step in range(max_length):
        logits = decoder.logits
        chosen = sample_tokens(logits, uniforms[rows, step], sampling)
        going, drawn = rows[places], chosen[places]
        tokens[going, step] = drawn
        logprobs[going, step] = found = chosen_logprobs(logits[places], drawn)
        lengths[going] = step + 1
        said = tokens[going, : step + 1] if ends.stop else drawn[:, None]
        finished[going] = ended = ends.reached(drawn, said)
        # Asked together, because a GPU is waited for.
        num_ended, total = torch.stack([ended.sum().to(found.dtype), found.sum()]).tolist()
        if not math.isfinite(total):
            raise NotFiniteError(going[~found.isfinite()].tolist(), step)
        if listener is not None:
            text = policy.encoder.decode(tokens[0, : int(lengths[0])])
            listener(_before_stop(text, sampling.stop).rstrip("\ufffd"))  # within a letter
        num_going = len(going) - int(num_ended)
        if step + 1 == max_length or not num_going:
            break
        if num_going < len(rows):
            is_going = ~finished[rows]
            kept = decoder.keep(is_going)
            rows, chosen = rows[kept], chosen[kept]
            is_whole = num_going == len(rows)
            places = slice(None) if is_whole else is_going[kept].nonzero().squeeze(-1)
        decoder.advance(chosen)
    return Drawn(tokens.cpu(), logprobs.cpu(), lengths.cpu(), finished.cpu())


def as_rollouts(
    drawn: Drawn,
    examples: Sequence[Example],
    *,
    group_size: int,
    policy: Policy,
    sampling: Sampling,
) -> list[Rollout]:
    """Return what was drawn, group after group."""
    rollouts = []
    for row, length in enumerate(drawn.lengths.tolist()):
        ids = drawn.tokens[row, :length].clone()
        text = policy.encoder.decode(ids)
        rollouts.append(
            Rollout(
                example=examples[row // group_size],
                text=_before_stop(text, sampling.stop),
                completion_ids=ids,
                logprobs=drawn.logprobs[row, :length].clone(),
                finished=bool(drawn.finished[row]),
            )
        )
    return rollouts


class Ends:
    """Tells which rollouts have just ended."""

    def __init__(self, policy: Policy, sampling: Sampling) -> None:
        self.encoder: PromptEncoder = policy.encoder
        self.stop_ids = torch.tensor(policy.stop_ids, dtype=torch.long, device=policy.device)
        self.stop = sampling.stop
        # A token is at least one byte, and a character at most four.
        self.window = 4 * max(map(len, self.stop), default=0) + 1

    def reached(
        self, chosen: Int[Tensor, " rows"], tokens: Int[Tensor, "rows steps"]
    ) -> Bool[Tensor, " rows"]:
        ended = (chosen[:, None] == self.stop_ids).any(dim=1)
        if self.stop:
            texts = [self.encoder.decode(row) for row in tokens[:, -self.window :]]
            hits = [any(stop in text for stop in self.stop) for text in texts]
            ended = ended | torch.tensor(hits, device=ended.device)
        return ended


def _before_stop(text: str, stop: Sequence[str]) -> str:
    """Cut a text before the first stop string in it."""
    places = [text.index(s) for s in stop if s in text]
    return text[: min(places)].rstrip() if places else text
