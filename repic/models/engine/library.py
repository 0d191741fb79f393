"""The library's own forward pass and ``generate``, on rows of their own.

What a model's authors run: the whole model on what its processor makes, with its own positions,
masks and places of features. Nothing is shared between the captions of a prompt. It is what other
paths are held to at the start of a run, and how a family runs that they do not know.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from repic.models.encoder import EncodedPrompt
from repic.models.engine.decoding import Drawn, Ends
from repic.models.engine.logprobs import (
    TokenLogprobs,
    chosen_logprobs,
    pad_completions,
    score,
)
from repic.models.engine.sampling import NotFiniteError, Sampling, sample_tokens
from repic.models.policy import Policy
from repic.types import Example


def score_rows(
    policy: Policy,
    examples: Sequence[Example],
    completions: Sequence[Int[Tensor, " _"]],
    *,
    entropy: bool,
) -> TokenLogprobs:
    """Score one completion of each example, with gradients; neighbours of one prompt together."""
    prompts = policy.encoder.prompts(examples)
    parts: list[TokenLogprobs] = []
    for run in runs(prompts):
        some = [ids.to(policy.device) for ids in completions[run]]
        ids, mask = pad_completions([x.cpu() for x in some])
        inputs = _repeated(policy, prompts[run.start], len(some))
        logits = _logits(policy, inputs, ids.to(policy.device), mask.to(policy.device))
        flat = logits[mask.to(policy.device)]
        parts.append(
            score(flat, some, torch.nn.Identity(), vocabulary=flat.shape[1], entropy=entropy)
        )
    longest = max(part.mask.shape[1] for part in parts)
    return TokenLogprobs(*(_stack(x, longest) for x in zip(*parts, strict=True)))


def runs(prompts: Sequence[EncodedPrompt]) -> list[slice]:
    """List where neighbours have one prompt."""
    starts = [i for i, prompt in enumerate(prompts) if i == 0 or prompt is not prompts[i - 1]]
    return [slice(a, b) for a, b in pairwise([*starts, len(prompts)])]


def draw_rows(
    policy: Policy, examples: Sequence[Example], uniforms: Float[Tensor, "N T"], sampling: Sampling
) -> Drawn:
    """Draw completions with ``generate``, group after group.

    Args:
        uniforms: the random numbers of each rollout, one a token.
    """
    group_size = len(uniforms) // len(examples)
    found = []
    for number, (prompt, numbers) in enumerate(
        zip(policy.encoder.prompts(examples), uniforms.split(group_size), strict=True)
    ):
        inputs = _repeated(policy, prompt, group_size)
        ended = _Ended(policy, sampling, len(prompt.input_ids), group_size)
        chooser = _Chooser(
            policy, numbers.to(policy.device), sampling, ended, first=number * group_size
        )
        length = sampling.max_new_tokens
        with _decoding_as_told(policy.network, length):
            rows = policy.network.generate(
                **inputs, logits_processor=[chooser], stopping_criteria=[ended]
            )
        tokens = rows[:, len(prompt.input_ids) :].cpu()
        logprobs = torch.stack(chooser.logprobs, dim=1).cpu()
        missing = length - tokens.shape[1]
        found.append(
            Drawn(
                pad(tokens, (0, missing)),
                pad(logprobs, (0, missing)),
                ended.lengths.cpu(),
                ended.finished.cpu(),
            )
        )
    return Drawn.joined(found)


class _Chooser(LogitsProcessor):
    """Draws each row's token by its random number, and leaves ``generate`` no other choice.

    Args:
        ended: knows which rows nobody reads on.
        first: the number of the first row in the whole batch.
    """

    def __init__(
        self,
        policy: Policy,
        uniforms: Float[Tensor, "rows T"],
        sampling: Sampling,
        ended: "_Ended",
        *,
        first: int,
    ) -> None:
        self.uniforms, self.sampling, self.ended, self.first = uniforms, sampling, ended, first
        rows = policy.network.get_input_embeddings().num_embeddings
        places = sorted(i for i in policy.encoder.image_ids if i < rows)
        self.places = torch.tensor(places, dtype=torch.long, device=policy.device)
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        uniforms = self.uniforms[:, len(self.logprobs)]
        chosen = sample_tokens(scores, uniforms, self.sampling)
        wrong, found = torch.isin(chosen, self.places), chosen_logprobs(scores, chosen)
        is_broken = ~found.isfinite() & ~self.ended.finished
        # Asked together, because a GPU is waited for.
        is_any_wrong, is_any_broken = torch.stack([wrong.any(), is_broken.any()]).tolist()
        if is_any_broken:
            rows = (self.first + is_broken.nonzero().flatten()).tolist()
            raise NotFiniteError(rows, len(self.logprobs))
        if is_any_wrong:  # an answer's would be a picture's place to the library
            allowed = scores.index_fill(1, self.places, -torch.inf)
            chosen = chosen.where(~wrong, sample_tokens(allowed, uniforms, self.sampling))
            found = chosen_logprobs(scores, chosen)
        self.logprobs.append(found)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


class _Ended(StoppingCriteria):
    """Notes which rows have ended, and where."""

    def __init__(self, policy: Policy, sampling: Sampling, prompt_length: int, rows: int) -> None:
        self.ends, self.prompt_length = Ends(policy, sampling), prompt_length
        self.lengths = torch.zeros(rows, dtype=torch.long, device=policy.device)
        self.finished = torch.zeros_like(self.lengths, dtype=torch.bool)

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        tokens = input_ids[:, self.prompt_length :]
        self.lengths = self.lengths + ~self.finished
        self.finished = self.finished | self.ends.reached(tokens[:, -1], tokens)
        return self.finished


@contextmanager
def _decoding_as_told(network: Any, length: int) -> Iterator[None]:
    """Keep the model's own settings out: a repetition penalty would change what is drawn.

    Those of its parts as well, since some models let their language model generate (InstructBLIP).
    """
    parts = [m for m in network.modules() if getattr(m, "generation_config", None) is not None]
    own = [part.generation_config for part in parts]
    for part in parts:
        part.generation_config = GenerationConfig(
            max_new_tokens=length, do_sample=False, pad_token_id=0
        )
    try:
        yield
    finally:
        for part, settings in zip(parts, own, strict=True):
            part.generation_config = settings


def _repeated(policy: Policy, prompt: Any, times: int) -> dict[str, Tensor]:
    """The library's inputs for a batch of equal prompts."""
    inputs = policy.encoder.library_inputs(prompt)
    return {
        name: x.repeat(times, *[1] * (x.dim() - 1)).to(policy.device) for name, x in inputs.items()
    }


def _logits(
    policy: Policy, inputs: dict[str, Tensor], ids: Tensor, mask: Tensor
) -> Float[Tensor, "G T V"]:
    """Run the whole model on prompts and completions; return what predicts the completions."""
    length, kept = ids.shape[1], ids.shape[1] - 1  # the last token predicts nothing asked for
    shape = inputs["input_ids"].shape
    rows = {
        name: torch.cat([x, x.new_zeros(len(x), kept)], dim=1) if x.shape == shape else x
        for name, x in inputs.items()
    }
    rows["input_ids"] = torch.cat([inputs["input_ids"], ids[:, :-1]], dim=1)
    rows["attention_mask"] = torch.cat([inputs["attention_mask"], mask[:, :-1].long()], dim=1)
    network = policy.network
    if "logits_to_keep" in inspect.signature(network.forward).parameters:
        return network(**rows, use_cache=False, logits_to_keep=length).logits
    return network(**rows, use_cache=False).logits[:, -length:]


def _stack(parts: Sequence[Tensor | None], length: int) -> Any:
    """Lay rows of several parts below one another."""
    known = [part for part in parts if part is not None]
    return torch.cat([pad(part, (0, length - part.shape[1])) for part in known]) if known else None
