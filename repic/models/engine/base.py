"""What both engines do in the same way: scoring completions that are given."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float, Int
from torch import Tensor

from repic.models.costs import Scheme
from repic.models.engine.logprobs import TokenLogprobs
from repic.models.engine.meter import Meter
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.rl.correction import Correction
from repic.types import Example, Rollout


class Engine(ABC):
    """Samples completions and scores them.

    Attributes:
        meter: what the work took.
        scheme: what is computed once, for arithmetic about it.
        takes_slices: its sampler can draw from a policy whose weights ranks share out.
        lag: 1 if captions of the next iteration are drawn during an update; see ``begin``.
        correction: what makes up for a sampler that is not quite the policy; None for none.
    """

    scheme: Scheme
    lag: int = 0
    takes_slices: bool = True
    correction: Correction | None = None

    def __init__(self) -> None:
        self.meter = Meter()

    @abstractmethod
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

    def begin(
        self, policy: Policy, examples: Sequence[Example], *, group_size: int, sampling: Sampling
    ) -> None:
        """Begin to draw, by the policy as it is now, what ``sample`` is asked for next.

        For engines with a lag, whose sampler works beside this process.
        """
        raise NotImplementedError

    @abstractmethod
    def split(self, policy: Policy, rollouts: Sequence[Rollout], *, max_tokens: int) -> list[slice]:
        """Cut rollouts into portions that take at most ``max_tokens`` tokens, or are single."""

    @abstractmethod
    def score(
        self,
        policy: Policy,
        examples: Sequence[Example],
        completions: Sequence[Int[Tensor, " _"]],
        *,
        entropy: bool,
        jumps: float = 0.0,
    ) -> TokenLogprobs:
        """Score one completion of each example, with gradients; for jumps see ``draw_jumps``."""

    def logprobs(
        self, policy: Policy, rollouts: Sequence[Rollout], *, entropy: bool = False
    ) -> TokenLogprobs:
        """Score completions under the policy, with gradients, and the entropy on request."""
        examples = [rollout.example for rollout in rollouts]
        ids = [rollout.completion_ids for rollout in rollouts]
        return policy.run(lambda: self.score(policy, examples, ids, entropy=entropy))

    def reference_logprobs(
        self, policy: Policy, rollouts: Sequence[Rollout]
    ) -> Float[Tensor, "N T"]:
        """Score completions under the policy's frozen reference."""
        with self.meter.time("reference", policy.device), policy.as_reference():
            return self.logprobs(policy, rollouts).logprobs

    def target_logprobs(
        self,
        policy: Policy,
        examples: Sequence[Example],
        targets: Sequence[str],
        *,
        jumps: float = 0.0,
    ) -> TokenLogprobs:
        """Score given answers, each with the token that ends it, for supervised training."""
        answers = policy.encoder.encode_answers(targets, examples)
        return policy.run(lambda: self.score(policy, examples, answers, entropy=False, jumps=jumps))


def cut(costs: Sequence[int], budget: int) -> list[slice]:
    """Cut a list into runs that cost no more than the budget, or are single.

    Example:
        >>> cut([3, 3, 3, 9], 6)
        [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    cuts, total = [0], 0
    for place, cost in enumerate(costs):
        if total and total + cost > budget:
            cuts.append(place)
            total = 0
        total += cost
    return [slice(a, b) for a, b in pairwise([*cuts, len(costs)])]
