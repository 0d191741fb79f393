"""From an iteration's rewards to the advantages of its rollouts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from repic import distributed
from repic.rewards.rubric import Rubric
from repic.rl.advantages import AdvantageFunction, Advantages, compute_advantages
from repic.rl.components import component_diagnostics
from repic.rl.conditions import condition_diagnostics, conditioned_rewards, read_conditions
from repic.rl.kl import ESTIMATORS
from repic.types import Rollout

KL = "kl"  # what the KL is called as a component of the reward


@dataclass(frozen=True)
class Credit:
    """What advantages are made of: components with their names and weights, of all ranks' prompts.

    Attributes:
        numbers: to log of the conditions under which components count.
    """

    names: tuple[str, ...]
    rewards: Float[Tensor, "B G K"]
    weights: Float[Tensor, " K"]
    numbers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def under_conditions(cls, rubric: Rubric, rewards: Float[Tensor, "B G K"]) -> "Credit":
        """Apply a rubric's conditions to its raw components; see ``repic.rl.conditions``.

        Args:
            rubric: names, weights and conditions.
            rewards: raw components of this rank's prompts.
        """
        rewards = of_all_ranks(rewards)
        conditions = read_conditions(rubric.conditions, rubric.names)
        counted = conditioned_rewards(rewards, rubric.names, conditions)
        numbers = condition_diagnostics(rewards, rubric.names, conditions)
        return cls(rubric.names, counted, rubric.weights, numbers)

    def with_kl(self, kl: Float[Tensor, " N"], coef: float) -> "Credit":
        """Add the KL of each rollout as one more component, whose weight is -coef.

        Added to a sum it is the penalty of https://arxiv.org/abs/2009.01325, section 3.4; where
        components are normalized one by one, so is this: its weight then acts on a KL of std 1.

        Args:
            kl: of this rank's rollouts.
            coef: the coefficient.
        """
        added = of_all_ranks(kl.view(-1, self.rewards.shape[1], 1))
        rewards = torch.cat([self.rewards, added], dim=2)
        weights = torch.cat([self.weights, self.weights.new_tensor([-coef])])
        return Credit((*self.names, KL), rewards, weights, self.numbers)

    def advantages(self, function: AdvantageFunction) -> Advantages:
        """Compute the advantages of all ranks' prompts; ``distributed.own()`` are this one's."""
        return compute_advantages(function, self.rewards, self.weights)

    def diagnostics(self, advantages: Advantages) -> dict[str, float]:
        """Say what conditions and components did; see ``repic.rl.components``."""
        numbers = component_diagnostics(
            self.rewards, self.weights, self.names, advantages=advantages
        )
        return {**numbers, **self.numbers}


def of_all_ranks(groups: Tensor) -> Tensor:
    """Put what each rank has of its prompts [B, …] in the order of the iteration's prompts."""
    return torch.stack(distributed.gather(list(groups)))


def rollout_kl(
    rollouts: Sequence[Rollout], ref_logprobs: Sequence[Float[Tensor, " _"]], *, estimator: str
) -> Float[Tensor, " N"]:
    """Sum each rollout's KL estimates over its tokens, with the sampler's log-probabilities.

    Args:
        ref_logprobs: of each rollout's tokens under the reference.
    """
    sums = []
    for rollout, reference in zip(rollouts, ref_logprobs, strict=True):
        sampled = rollout.logprobs.detach().cpu()[None]
        sums.append(ESTIMATORS[estimator](sampled, reference.cpu()[None]).sum())
    return torch.stack(sums).float()
