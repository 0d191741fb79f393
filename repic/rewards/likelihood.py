"""Is it a caption such as the reference model would write? Quality judged by likelihood.

    likelihood = exp(mean over the caption's tokens of log p_reference(token)),   in (0, 1]

the inverse of the perplexity under the frozen reference, the end token included: 1 is what the
reference is sure of, 1 / V is guessing. Bounded, unlike the mean log-probability itself: a single
rollout of garbage would decide its whole group's mean and std.

It is a judge that can be fooled, since what is likely need not be good:

- nothing is likelier than what the reference says anyway, its mistakes included: it pulls towards
  the reference's greedy caption, as a low temperature does, and knows nothing of the picture that
  the reference does not see (toybox, after SFT: greedy captions 0.94, the true answers 0.86);
- a caption that is short and like any other ("A toy.") has few tokens that could surprise, and a
  vague one is likelier than an informative one;
- what was said once is likely to be said again, so every repeat may raise the mean;
- a name is a choice among several, and leaving it out may be likelier than getting it right.

How much of that pays depends on the reference: one that was fine-tuned on complete captions finds
the short and the repeated ones unlikely (0.57 and 0.43 there), the one before it finds captions
without names thrice as likely as those with. So it is no reward to be used by itself.
``conf/reward/seed.yaml`` adds recognition, which pays for naming everyone who is there and no one
else, and lets the likelihood count only for captions that say enough of the truth
(``fact_recall``: not short, not vague) and do not repeat themselves (``fluency``). Where the data
does not let these be measured, as with photos without answers, the KL penalty and a look at
``grpo/length`` are what is left.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from repic.rewards.rubric import Logprobs, RewardBatch
from repic.types import Rollout
from repic.values import Tasks

NAN = float("nan")


class LikelihoodReward:
    """Component ``likelihood``, in [0, 1]; NaN for other tasks, and where there is no reference.

    Args:
        tasks: the tasks whose answers are captions; elsewhere the component is NaN.
    """

    components = ("likelihood",)
    needs_reference = True

    def __init__(self, *, tasks: Tasks) -> None:
        self.tasks = frozenset(tasks)

    def score(self, rollouts: Sequence[Rollout], logprobs: Logprobs | None) -> RewardBatch:
        """Score each caption by its own tokens; one whose log-probabilities are NaN has failed."""
        values = torch.full((len(rollouts), 1), NAN)
        failed = torch.zeros(len(rollouts), 1, dtype=torch.bool)
        if logprobs is None:
            return RewardBatch(self.components, values)
        for i, (rollout, row) in enumerate(zip(rollouts, logprobs, strict=True)):
            num_tokens = len(rollout.completion_ids)
            assert len(row) == num_tokens, f"{len(row)} log-probabilities of {num_tokens} tokens"
            if rollout.example.task in self.tasks:
                values[i] = inverse_perplexity(row)
                failed[i] = values[i].isnan()
        return RewardBatch(self.components, values, failed)


def inverse_perplexity(logprobs: Float[Tensor, " _"]) -> float:
    """The geometric mean of a completion's token probabilities; 0 for a completion without tokens.

    Args:
        logprobs: of its tokens, in nats; -inf is impossible.

    Example:
        >>> round(inverse_perplexity(torch.tensor([0.5, 0.125]).log()), 3)
        0.25
    """
    if not len(logprobs):
        return 0.0
    # In double precision, and at most 1: rounding may leave a log-probability above 0.
    return min(logprobs.double().mean().exp().item(), 1.0)
