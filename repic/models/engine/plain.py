"""The reference engine: rollouts and log-probabilities the obvious way.

Every rollout is a row ``[prompt | completion]`` of its own, in sampling, reference and update
alike. Two savings are made, because they change nothing and cost a line: a picture that is shown
several times in a batch is encoded once, and sampling runs a prompt once and repeats its cache.
A family that cannot be packed goes through the library's whole forward pass.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache

from repic.models.costs import PLAIN
from repic.models.encoder import EncodedPrompt, PromptBatch
from repic.models.engine.base import Engine, cut
from repic.models.engine.decoding import Drawn, as_rollouts, draw
from repic.models.engine.library import draw_rows, score_rows
from repic.models.engine.logprobs import TokenLogprobs, draw_jumps, pad_completions
from repic.models.engine.sampling import (
    NotFiniteError,
    Sampling,
    check_lengths,
    rollout_uniforms,
)
from repic.models.policy import Policy
from repic.types import Example, Rollout
from repic.weights import few, not_finite


class PlainEngine(Engine):
    """A row of its own for every rollout, wherever it is scored."""

    scheme = PLAIN

    @torch.no_grad()
    def sample(
        self,
        policy: Policy,
        examples: Sequence[Example],
        *,
        group_size: int,
        sampling: Sampling,
        seed: int,
    ) -> list[Rollout]:
        length = sampling.max_new_tokens
        uniforms = rollout_uniforms(examples, group_size=group_size, length=length, seed=seed)
        prompts = policy.encoder.prompts(examples)
        lengths = [len(prompt.input_ids) for prompt in prompts]
        room = policy.encoder.max_length
        check_lengths(lengths, examples, max_length=room, sampling=sampling)
        by_library = policy.family.unpackable is not None
        if not by_library:
            self.prepare(policy)
        try:
            with policy.evaluating():
                if by_library:
                    with self.meter.time("decode", policy.device):
                        drawn = draw_rows(policy, examples, uniforms, sampling)
                else:
                    drawn = self.draw(policy, prompts, uniforms, sampling)
        except NotFiniteError as error:
            first, others = examples[error.rows[0] // group_size], len(error.rows) - 1
            place = f"example {first.id}" + (f" and {others} other captions" if others else "")
            raise NotFiniteError(
                error.rows, error.step, place=place, reason=_why_not_finite(policy)
            ) from None
        times = group_size if by_library else 1  # that a prompt was computed
        self.meter.count(
            prompt=times * sum(lengths),
            completion=int(drawn.lengths.sum()),
            saved=(group_size - times) * sum(lengths),
        )
        return as_rollouts(drawn, examples, group_size=group_size, policy=policy, sampling=sampling)

    def prepare(self, policy: Policy) -> None:
        """Get ready for a policy, or say why that cannot be."""

    def draw(
        self,
        policy: Policy,
        prompts: Sequence[EncodedPrompt],
        uniforms: Float[Tensor, "N T"],
        sampling: Sampling,
    ) -> Drawn:
        """Draw the rollouts of some prompts; see ``repic.models.engine.decoding.draw``."""
        with self.meter.time("prefill", policy.device):
            batch = policy.encoder.pad(prompts).to(policy.device)
            decoder = _PlainDecoder(policy, batch, len(uniforms) // len(prompts))
        with self.meter.time("decode", policy.device):
            return draw(decoder, uniforms, policy=policy, sampling=sampling)

    def split(self, policy: Policy, rollouts: Sequence[Rollout], *, max_tokens: int) -> list[slice]:
        """Cut rollouts into portions whose rows have no more tokens than ``max_tokens``."""
        prompts = policy.encoder.prompts([rollout.example for rollout in rollouts])
        return cut(
            [
                len(p.input_ids) + len(r.completion_ids)
                for p, r in zip(prompts, rollouts, strict=True)
            ],
            max_tokens,
        )

    def score(
        self,
        policy: Policy,
        examples: Sequence[Example],
        completions: Sequence[Int[Tensor, " _"]],
        *,
        entropy: bool,
        jumps: float = 0.0,
    ) -> TokenLogprobs:
        if policy.family.unpackable is not None:
            if jumps:
                raise ValueError(
                    "phase.pretrain.position_jumps: this model's family gives its own positions;"
                    " set it to 0"
                )
            scored = score_rows(policy, examples, completions, entropy=entropy)
            lengths = (len(prompt.input_ids) for prompt in policy.encoder.prompts(examples))
            self.meter.count(prompt=sum(lengths), completion=int(scored.mask[:, 1:].sum()))
            return scored
        rows = policy.encoder.prompts(examples)
        prompts = policy.encoder.pad(rows).to(policy.device)
        ids, mask = pad_completions(completions)
        # Found on the CPU: a GPU would be waited for.
        predicted = [index.to(policy.device) for index in mask.nonzero(as_tuple=True)]
        ids, mask = ids.to(policy.device), mask.to(policy.device)
        # The last token predicts nothing that is asked for.
        fed, length = ids[:, :-1], ids.shape[1]
        steps = torch.arange(length - 1).repeat(len(ids), 1)
        for row, answer in zip(steps, completions, strict=True):
            fed_here = len(answer) - 1
            row[:fed_here] += draw_jumps(fed_here, jumps)
        positions = (prompts.next_position[:, None] + steps.to(policy.device)).expand(
            len(prompts.position_ids), -1, -1
        )
        embeddings, injection = policy.embed(prompts)
        hidden = policy.hidden_states(
            torch.cat([embeddings, policy.embed_tokens(fed)], dim=1),
            attention_mask=torch.cat([prompts.attention_mask, mask[:, :-1]], dim=1),
            position_ids=torch.cat([prompts.position_ids, positions], dim=2),
            injection=injection,
        )
        self.meter.count(
            prompt=sum(len(row.input_ids) for row in rows),
            completion=sum(len(completion) - 1 for completion in completions),
        )
        # Prompts end in the same column, so completions are predicted by the last ones. Only there
        # is the head applied: logits of every place would be the largest tensor by far.
        return policy.score(hidden[:, -length:][*predicted], completions, entropy=entropy)


class _PlainDecoder:
    """The library's cache, repeated for every rollout of a prompt."""

    def __init__(self, policy: Policy, prompts: PromptBatch, group_size: int) -> None:
        self.policy = policy
        self.axes = len(prompts.position_ids)
        self.cache = DynamicCache()
        embeddings, injection = policy.embed(prompts)
        hidden = policy.hidden_states(
            embeddings,
            attention_mask=prompts.attention_mask,
            position_ids=prompts.position_ids,
            cache=self.cache,
            injection=injection,
        )
        self.cache.batch_repeat_interleave(group_size)
        self.logits = policy.logits(hidden[:, -1]).repeat_interleave(group_size, dim=0)
        self.mask = prompts.attention_mask.repeat_interleave(group_size, dim=0)
        self.next_position = prompts.next_position.repeat_interleave(group_size)

    def keep(self, is_going: Bool[Tensor, " rows"]) -> Int[Tensor, " kept"]:
        """Let the finished rollouts leave the batch."""
        kept = is_going.nonzero().squeeze(-1)
        if len(kept) < len(is_going):
            self.cache.batch_select_indices(kept)
            self.mask, self.next_position = self.mask[kept], self.next_position[kept]
        return kept

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Feed one token per rollout."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        hidden = self.policy.hidden_states(
            self.policy.embed_tokens(tokens[:, None]),
            attention_mask=self.mask,
            position_ids=self.next_position[None, :, None].expand(self.axes, -1, -1),
            cache=self.cache,
        )
        self.logits = self.policy.logits(hidden[:, -1])
        self.next_position = self.next_position + 1


def _why_not_finite(policy: Policy) -> str:
    """What is wrong with a policy whose logits are NaN or infinite."""
    if broken := not_finite(policy.model.named_parameters()):
        return f", and so are weights ({few(broken)})"
    dtype = str(policy.network.dtype).removeprefix("torch.")
    return f", though its weights are not; does {dtype} hold its numbers? See model.dtype"
