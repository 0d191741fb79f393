"""Dynamic sampling: other prompts in place of those whose rollouts teach nothing.

DAPO, https://arxiv.org/abs/2503.14476, section 3.2. Deviations:

1. A group teaches nothing where no weighted component differs. Equal totals are not enough:
   component-wise normalization still learns from their parts.
2. What is still dull after the last attempt stays, with advantages of 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from repic import distributed
from repic.data.module import Examples, example_index
from repic.types import Example, Rollout


@dataclass(frozen=True, kw_only=True)
class ReplacementPrompts:
    """Prompts to fall back on.

    Which ones an iteration is given follows from its number, so a resumed run has the same.

    Attributes:
        examples: apart from those of the iterations.
        prompts: of an iteration, over all ranks.
        attempts: how often an iteration's dull groups are replaced, at most.
        seed: orders the epochs after the first.
    """

    examples: Examples
    prompts: int
    attempts: int
    seed: int

    def take(self, iteration: int, attempt: int, number: int) -> list[Example]:
        """Return this rank's first prompts for an attempt; the first attempt is 1."""
        start = (iteration * self.attempts + attempt - 1) * self.prompts
        mine = range(start + distributed.rank(), start + self.prompts, distributed.world_size())
        size = len(self.examples)
        return [self.examples[example_index(p, size, self.seed)] for p in mine[:number]]


@dataclass(frozen=True)
class ScoredGroups:
    """Groups of rollouts with their raw components, and how long they took.

    Attributes:
        groups: of one prompt each.
        rewards: [B, G, K].
        rollout_s, reference_s, reward_s: seconds of sampling, of the reference's scores that
            rewards ask for, and of scoring.
        failures: share of rollouts for which a component could not be had, by component.
        ref_logprobs: of each rollout's tokens under the reference [T], if a reward asked for them.
        num_replaced: groups that were dropped for others on the way.
    """

    groups: list[list[Rollout]]
    rewards: Tensor
    rollout_s: float
    reward_s: float
    reference_s: float = 0.0
    failures: Mapping[str, float] = field(default_factory=dict)
    ref_logprobs: tuple[Tensor, ...] | None = None
    num_replaced: int = 0

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group]

    def replaced(self, places: Sequence[int], fresh: "ScoredGroups") -> "ScoredGroups":
        """Put other groups in some places."""
        groups, rewards = list(self.groups), self.rewards.clone()
        scores = list(self.ref_logprobs or ())
        size = len(groups[0])
        for number, place in enumerate(places):
            groups[place], rewards[place] = fresh.groups[number], fresh.rewards[number]
            if fresh.ref_logprobs is not None:
                new = fresh.ref_logprobs[number * size : (number + 1) * size]
                scores[place * size : (place + 1) * size] = new
        return ScoredGroups(
            groups,
            rewards,
            self.rollout_s + fresh.rollout_s,
            self.reward_s + fresh.reward_s,
            self.reference_s + fresh.reference_s,
            {**self.failures, **fresh.failures},
            tuple(scores) if self.ref_logprobs is not None else None,
            self.num_replaced + len(places),
        )


def dynamic_sampling(
    draw: ScoredGroups,
    again: Callable[[list[Example], int], ScoredGroups],
    has_signal: Callable[[Tensor], Tensor],
    spare: ReplacementPrompts,
    iteration: int,
) -> tuple[ScoredGroups, dict[str, float]]:
    """Replace the groups that teach nothing, as often as allowed.

    Args:
        draw: of the iteration's own prompts.
        again: samples and scores (examples, attempt).
        has_signal: (rewards [B, G, K]) to which groups teach something [B].

    Returns:
        The draw, and numbers to log: ``grpo/resampled_groups``, groups dropped for others, per
        prompt of the iteration (above 1 where several attempts failed);
        ``grpo/resample_attempts``, rounds of sampling beside the first;
        ``grpo/dull_frac``, share of groups that have no signal in the end.
    """
    attempts = 0
    dull = torch.nonzero(~has_signal(draw.rewards)).flatten().tolist()
    while dull and attempts < spare.attempts:
        attempts += 1
        examples = spare.take(iteration, attempts, len(dull))
        draw = draw.replaced(dull, again(examples, attempts))
        dull = torch.nonzero(~has_signal(draw.rewards)).flatten().tolist()
    return draw, {
        "grpo/resampled_groups": draw.num_replaced / len(draw.groups),
        "grpo/resample_attempts": float(attempts),
        "grpo/dull_frac": len(dull) / len(draw.groups),
    }
