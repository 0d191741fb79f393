"""Log-probabilities with every prompt computed once, in the reference and the update alike.

A group's rollouts share their prompt. It goes through the model once, gradients and all; the
completions follow in rows of their own, against its keys and values. What is computed is what
``PlainEngine`` computes, G - 1 prompts a group less.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from repic.models.logprobs import TokenLogprobs, pad_completions, token_logprobs
from repic.models.plain import PlainEngine
from repic.models.policy import Policy
from repic.models.sampling import Sampling
from repic.types import Example, Rollout


class PrefixEngine:
    """As ``PlainEngine``, which does all but the scoring of rollouts.

    Under gradient checkpointing the library keeps no keys and values, so there the rollouts are
    scored in whole rows as well.
    """

    def __init__(self) -> None:
        self.plain = PlainEngine()

    def sample(
        self,
        policy: Policy,
        examples: Sequence[Example],
        *,
        group_size: int,
        sampling: Sampling,
        seed: int,
    ) -> list[Rollout]:
        """Draw a group of completions for each example; see ``PlainEngine``."""
        return self.plain.sample(
            policy, examples, group_size=group_size, sampling=sampling, seed=seed
        )

    def logprobs(self, policy: Policy, rollouts: Sequence[Rollout]) -> TokenLogprobs:
        """Score completions under the policy, with gradients."""
        checkpoints = getattr(policy.network, "is_gradient_checkpointing", False)
        if checkpoints and policy.training and torch.is_grad_enabled():
            return self.plain.logprobs(policy, rollouts)
        return _score(policy, rollouts)

    def reference_logprobs(
        self, policy: Policy, rollouts: Sequence[Rollout]
    ) -> Float[Tensor, "N T"]:
        """Score completions under the policy's frozen reference."""
        with policy.as_reference():
            return _score(policy, rollouts).logprobs

    def target_logprobs(
        self, policy: Policy, examples: Sequence[Example], targets: Sequence[str]
    ) -> TokenLogprobs:
        """Score given answers, one a prompt, for supervised training."""
        return self.plain.target_logprobs(policy, examples, targets)


def _score(policy: Policy, rollouts: Sequence[Rollout]) -> TokenLogprobs:
    """Run the distinct prompts, then the completions against what the prompts left behind."""
    distinct = {rollout.example.id: rollout.example for rollout in rollouts}
    places = {key: place for place, key in enumerate(distinct)}
    rows = torch.tensor([places[rollout.example.id] for rollout in rollouts], device=policy.device)
    prompts = policy.encoder.encode(list(distinct.values())).to(policy.device)
    completions = pad_completions([rollout.completion_ids for rollout in rollouts])
    ids, mask = (x.to(policy.device) for x in completions)
    cache = DynamicCache()
    hidden = policy.hidden_states(
        policy.embed(prompts),
        attention_mask=prompts.attention_mask,
        position_ids=prompts.position_ids,
        cache=cache,
    )[:, -1:][rows]
    fed = ids[:, :-1]  # the last token predicts nothing that is asked for
    if fed.shape[1]:
        cache.batch_select_indices(rows)
        steps = torch.arange(fed.shape[1], device=policy.device)
        positions = (prompts.next_position[rows, None] + steps)[None]
        after = policy.hidden_states(
            policy.embed_tokens(fed),
            attention_mask=torch.cat([prompts.attention_mask[rows], mask[:, :-1]], dim=1),
            position_ids=positions.expand(len(prompts.position_ids), -1, -1),
            cache=cache,
        )
        hidden = torch.cat([hidden, after], dim=1)
    logprobs, entropy = token_logprobs(policy.logits(hidden[mask]), ids[mask])
    zeros = torch.zeros(mask.shape, device=mask.device)
    return TokenLogprobs(
        zeros.masked_scatter(mask, logprobs), mask, zeros.masked_scatter(mask, entropy)
    )
