"""Dynamic sampling: other prompts in place of those whose rollouts teach nothing.

DAPO, https://arxiv.org/abs/2503.14476, section 3.2. Deviations:

1. A group teaches nothing where its advantages are 0, whatever the algorithm makes of its rewards.
   With equal totals component-wise normalization still learns from the parts, unless they cancel.
   The KL is left out of this where it is part of the reward: it differs within every group.
2. What still has no signal after the last attempt stays, with advantages of 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from jaxtyping import Bool, Float
from torch import Tensor

from repic import distributed
from repic.data.module import example_index
from repic.types import Example, Examples, Rollout


@dataclass(frozen=True, kw_only=True)
class ReplacementPrompts:
    """Prompts in place of those without signal.

    Which ones an iteration is given follows from its number, so a resumed run has the same.

    Attributes:
        examples: apart from those of the iterations.
        prompts: of an iteration, over all ranks.
        attempts: how often an iteration's groups without signal are replaced, at most.
        seed: orders the epochs after the first.
    """

    examples: Examples
    prompts: int
    attempts: int
    seed: int

    def take(self, iteration: int, attempt: int, numbers: Sequence[int]) -> list[Example]:
        """Return some of an attempt's prompts, by their number; the first attempt is 1."""
        start, size = (iteration * self.attempts + attempt - 1) * self.prompts, len(self.examples)
        return [self.examples[example_index(start + n, size, self.seed)] for n in numbers]


@dataclass(frozen=True)
class ScoredGroups:
    """Groups of rollouts with their raw reward components.

    Attributes:
        groups: of one prompt each.
        rewards: NaN where a component does not apply.
        ref_logprobs: of each rollout's tokens under the reference [T], if a reward asked for them.
        failed: where a component should have applied and could not be had; None: nowhere.
        fallible: the components that may fail.
        numbers: to log of how prompts were replaced.
    """

    groups: Sequence[Sequence[Rollout]]
    rewards: Float[Tensor, "B G K"]
    ref_logprobs: tuple[Tensor, ...] | None = None
    failed: Bool[Tensor, "B G K"] | None = None
    fallible: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group]

    def replaced(self, places: Sequence[int], fresh: "ScoredGroups") -> "ScoredGroups":
        """Put other groups in some places."""
        groups, rewards = list(self.groups), self.rewards.clone()
        failed = None if self.failed is None else self.failed.clone()
        reference = list(self.ref_logprobs or ())
        size = len(groups[0])
        for number, place in enumerate(places):
            groups[place], rewards[place] = fresh.groups[number], fresh.rewards[number]
            if fresh.ref_logprobs is not None:
                new = fresh.ref_logprobs[number * size : (number + 1) * size]
                reference[place * size : (place + 1) * size] = new
            if failed is not None and fresh.failed is not None:
                failed[place] = fresh.failed[number]
        given = tuple(reference) if self.ref_logprobs is not None else None
        return replace(self, groups=groups, rewards=rewards, ref_logprobs=given, failed=failed)


def dynamic_sampling(
    scored: ScoredGroups,
    sample: Callable[[list[Example], int], ScoredGroups],
    has_signal: Callable[[Tensor], Bool[Tensor, " B"]],
    prompts: ReplacementPrompts,
    iteration: int,
) -> ScoredGroups:
    """Replace the groups that teach nothing, as often as allowed.

    All ranks go round together, since advantages may depend on the prompts of all; and prompts
    are handed out in the iteration's order, so that it does not matter which rank has which.

    Args:
        scored: the iteration's own prompts.
        sample: samples and scores (examples, attempt).
        has_signal: (rewards [B, G, K]) to which groups teach something; they are this rank's.
        prompts: those to take instead.
        iteration: its number.

    Returns:
        The groups, with these numbers to log: ``grpo/resampled_groups``, groups dropped for others,
        per prompt of the iteration (above 1 where several attempts failed);
        ``grpo/resample_attempts``, rounds of sampling beside the first;
        ``grpo/zero_signal_frac``, share of groups that have no signal in the end.
    """
    attempts = num_replaced = 0
    while True:
        lacks = distributed.gather((~has_signal(scored.rewards)).tolist())  # of all prompts
        if not any(lacks) or attempts == prompts.attempts:
            break
        attempts += 1
        num_replaced += sum(lacks)
        turns = list(zip(lacks, accumulate(lacks), strict=True))[distributed.own()]
        places = [place for place, (lacking, _) in enumerate(turns) if lacking]
        if places:
            examples = prompts.take(iteration, attempts, [turns[p][1] - 1 for p in places])
            scored = scored.replaced(places, sample(examples, attempts))
    numbers = {
        "grpo/resampled_groups": num_replaced / len(lacks),
        "grpo/resample_attempts": float(attempts),
        "grpo/zero_signal_frac": sum(lacks) / len(lacks),
    }
    return replace(scored, numbers=numbers)
