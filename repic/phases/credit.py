"""From an iteration's rewards to the advantages of its rollouts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repic import distributed
from repic.rl.components import advantage_components, component_diagnostics
from repic.rl.conditions import condition_diagnostics, conditioned_rewards, read_conditions
from repic.rl.kl import ESTIMATORS
from repic.types import Rollout

KL = "kl"  # what the KL is called as a component of the reward


@dataclass(frozen=True)
class Credit:
    """What advantages are made of: components with their names and weights."""

    names: tuple[str, ...]
    rewards: Float[Tensor, "B G K"]
    weights: Float[Tensor, " K"]

    def conditioned(
        self, settings: Mapping[str, Mapping[str, Any]]
    ) -> tuple["Credit", dict[str, float]]:
        """Apply conditions; return also what to log of them. See ``repic.rl.conditions``."""
        conditions = read_conditions(settings, self.names)
        rewards = conditioned_rewards(self.rewards, self.names, conditions)
        numbers = condition_diagnostics(self.rewards, self.names, conditions)
        return Credit(self.names, rewards, self.weights), numbers

    def with_kl(self, kl: Float[Tensor, " N"], coef: float) -> "Credit":
        """Add the KL of each rollout as one more component, whose weight is -coef.

        Added to a sum it is the penalty of https://arxiv.org/abs/2009.01325, section 3.4; where
        components are normalized one by one, so is this: its weight then acts on a KL of std 1.
        """
        rewards = torch.cat([self.rewards, kl.view(*self.rewards.shape[:2], 1)], dim=2)
        weights = torch.cat([self.weights, self.weights.new_tensor([-coef])])
        return Credit((*self.names, KL), rewards, weights)

    def advantages(self, function: Callable[[Tensor, Tensor], Tensor]) -> Float[Tensor, "B G"]:
        """Compute this rank's advantages from the prompts of all ranks."""
        return self._with_all_ranks(function)

    def _with_all_ranks(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Apply a function to the prompts of all ranks, and return the rows of this rank's."""
        groups = torch.stack(distributed.gather(list(self.rewards)))
        everyone = function(groups, self.weights)
        return everyone[distributed.rank() :: distributed.world_size()]

    def diagnostics(
        self, function: Callable[[Tensor, Tensor], Tensor], advantages: Float[Tensor, "B G"]
    ) -> dict[str, float]:
        """Say what each component did; see ``repic.rl.components``."""
        return component_diagnostics(
            self.rewards,
            self.weights,
            self.names,
            advantages=advantages,
            parts=self._with_all_ranks(advantage_components(function)),
        )


def rollout_kl(
    rollouts: Sequence[Rollout], ref_logprobs: Float[Tensor, "N T"], *, estimator: str
) -> Float[Tensor, " N"]:
    """Sum each rollout's KL estimates over its tokens, with the sampler's log-probabilities.

    Args:
        ref_logprobs: of the rollouts' tokens under the reference, padded on the right.
    """
    sums = []
    for rollout, reference in zip(rollouts, ref_logprobs.cpu(), strict=True):
        sampled = rollout.logprobs.detach().cpu()[None]
        sums.append(ESTIMATORS[estimator](sampled, reference[None, : sampled.shape[1]]).sum())
    return torch.stack(sums).float()
