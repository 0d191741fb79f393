"""The reference engine: rollouts and log-probabilities the obvious way.

Every rollout is a row ``[prompt | completion]`` of its own, in sampling, reference and update
alike. Two savings are made, because they change nothing and cost a line: a picture that is shown
several times in a batch is encoded once, and sampling runs a prompt once and repeats its cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from repic.models.logprobs import TokenLogprobs, pad_completions, token_logprobs
from repic.models.policy import Policy
from repic.models.sampling import Sampling, rollout_uniforms, sample_tokens
from repic.types import Example, Rollout


class PlainEngine:
    """Samples completions and scores them; holds no state, splits no batch."""

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
        """Draw a group of completions for each example.

        What is drawn for an example depends on the seed, its id and the place in the group, not
        on the rest of the batch.

        Returns:
            Rollouts, group after group: member g of example b is number ``b * group_size + g``.
            Their log-probabilities are those of the whole distribution at temperature 1, whatever
            the temperature and the truncation they were drawn with.
        """
        uniforms = rollout_uniforms(
            examples, group_size=group_size, length=sampling.max_new_tokens, seed=seed
        )
        with policy.evaluating():
            drawn = _Decoder(policy, examples, group_size, sampling).run(uniforms)
        rollouts = []
        for row, length in enumerate(drawn.lengths.tolist()):
            ids = drawn.tokens[row, :length].clone()
            rollouts.append(
                Rollout(
                    example=examples[row // group_size],
                    text=policy.encoder.decode(ids),
                    completion_ids=ids,
                    logprobs=drawn.logprobs[row, :length].clone(),
                    finished=bool(drawn.finished[row]),
                )
            )
        return rollouts

    def logprobs(self, policy: Policy, rollouts: Sequence[Rollout]) -> TokenLogprobs:
        """Score completions under the policy, with gradients."""
        return _score(policy, [r.example for r in rollouts], [r.completion_ids for r in rollouts])

    def reference_logprobs(
        self, policy: Policy, rollouts: Sequence[Rollout]
    ) -> Float[Tensor, "N T"]:
        """Score completions under the policy's frozen reference."""
        with policy.as_reference():
            return self.logprobs(policy, rollouts).logprobs

    def target_logprobs(
        self, policy: Policy, examples: Sequence[Example], targets: Sequence[str]
    ) -> TokenLogprobs:
        """Score given answers, each with the token that ends it, for supervised training."""
        return _score(policy, examples, policy.encoder.encode_answers(targets))


def _score(
    policy: Policy, examples: Sequence[Example], completions: Sequence[Int[Tensor, " _"]]
) -> TokenLogprobs:
    """Run rows ``[prompt | completion]`` and look at the places that predict a completion."""
    prompts = policy.encoder.encode(examples).to(policy.device)
    ids, mask = (x.to(policy.device) for x in pad_completions(completions))
    # The last token predicts nothing that is asked for.
    fed, length = ids[:, :-1], ids.shape[1]
    steps = torch.arange(length - 1, device=policy.device)
    positions = (prompts.next_position[:, None] + steps).expand(len(prompts.position_ids), -1, -1)
    hidden = policy.hidden_states(
        torch.cat([policy.embed(prompts), policy.embed_tokens(fed)], dim=1),
        attention_mask=torch.cat([prompts.attention_mask, mask[:, :-1]], dim=1),
        position_ids=torch.cat([prompts.position_ids, positions], dim=2),
    )
    # Prompts end in the same column, so completions are predicted by the last ones. Only there
    # is the head applied: logits of every place would be the largest tensor by far.
    logits = policy.logits(hidden[:, -length:][mask])
    logprobs, entropy = token_logprobs(logits, ids[mask])
    zeros = torch.zeros(mask.shape, device=mask.device)
    return TokenLogprobs(
        zeros.masked_scatter(mask, logprobs), mask, zeros.masked_scatter(mask, entropy)
    )


@dataclass(frozen=True)
class _Drawn:
    """Completions in rows, on the CPU; what follows ``lengths`` is meaningless."""

    tokens: Int[Tensor, "N T"]
    logprobs: Float[Tensor, "N T"]
    lengths: Int[Tensor, " N"]
    finished: Tensor


class _Decoder:
    """One prefill of the prompts, then token after token for all rollouts that still go on."""

    def __init__(
        self, policy: Policy, examples: Sequence[Example], group_size: int, sampling: Sampling
    ) -> None:
        self.policy, self.sampling = policy, sampling
        prompts = policy.encoder.encode(examples).to(policy.device)
        self.axes = len(prompts.position_ids)
        length = prompts.input_ids.shape[1] + sampling.max_new_tokens
        if length > policy.encoder.max_length:
            raise ValueError(
                f"a prompt of {prompts.input_ids.shape[1]} tokens and sampling.max_new_tokens="
                f"{sampling.max_new_tokens} exceed the model's {policy.encoder.max_length}"
            )
        self.cache = DynamicCache()
        hidden = policy.hidden_states(
            policy.embed(prompts),
            attention_mask=prompts.attention_mask,
            position_ids=prompts.position_ids,
            cache=self.cache,
        )
        self.cache.batch_repeat_interleave(group_size)
        self.logits = policy.logits(hidden[:, -1]).repeat_interleave(group_size, dim=0)
        self.mask = prompts.attention_mask.repeat_interleave(group_size, dim=0)
        self.next_position = prompts.next_position.repeat_interleave(group_size)

    def run(self, uniforms: Float[Tensor, "N T"]) -> _Drawn:
        """Decode until every rollout has ended or is as long as allowed."""
        num_rollouts, max_length = uniforms.shape
        device = self.policy.device
        uniforms = uniforms.to(device)
        stop_ids = torch.tensor(self.policy.stop_ids, device=device)
        tokens = torch.zeros(num_rollouts, max_length, dtype=torch.long, device=device)
        logprobs = torch.zeros(num_rollouts, max_length, device=device)
        lengths = torch.zeros(num_rollouts, dtype=torch.long, device=device)
        finished = torch.zeros(num_rollouts, dtype=torch.bool, device=device)
        rows = torch.arange(num_rollouts, device=device)  # those that go on
        for step in range(max_length):
            chosen = sample_tokens(self.logits, uniforms[rows, step], self.sampling)
            tokens[rows, step] = chosen
            logprobs[rows, step], _ = token_logprobs(self.logits, chosen)
            lengths[rows] = step + 1
            has_ended = torch.isin(chosen, stop_ids)
            finished[rows] = has_ended
            if has_ended.all() or step + 1 == max_length:
                break
            if has_ended.any():
                going = (~has_ended).nonzero().squeeze(-1)
                rows, chosen = rows[going], chosen[going]
                self._keep(going)
            self._advance(chosen)
        return _Drawn(tokens.cpu(), logprobs.cpu(), lengths.cpu(), finished.cpu())

    def _keep(self, going: Int[Tensor, " R"]) -> None:
        """Let the finished rollouts leave the batch."""
        self.cache.batch_select_indices(going)
        self.mask, self.next_position = self.mask[going], self.next_position[going]

    def _advance(self, chosen: Int[Tensor, " R"]) -> None:
        """Feed one token per rollout."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(chosen), 1)], dim=1)
        hidden = self.policy.hidden_states(
            self.policy.embed_tokens(chosen[:, None]),
            attention_mask=self.mask,
            position_ids=self.next_position[None, :, None].expand(self.axes, -1, -1),
            cache=self.cache,
        )
        self.logits = self.policy.logits(hidden[:, -1])
        self.next_position = self.next_position + 1
