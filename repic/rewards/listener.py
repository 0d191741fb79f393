"""Could somebody who reads the caption find its picture among look-alikes? RRG's listener.

RRG, https://arxiv.org/abs/2606.28845: a frozen listener weighs candidates by what the speaker says,

    listener = rho_target / sum over candidates of rho    if rho_target is above all others, else 0

Here the listener is the frozen reference model, and rho the probability that it would say just this
of a candidate, references and all: p(caption | references, candidate). So it is the listener of a
speaker's own model (rational speech acts), and needs no judge. Candidates are pictures that differ
from the target in little: of the toybox the same scene, in which a friend is exchanged for a toy
that differs in one attribute.

How it may be stuffed: what is as likely of every candidate neither pays nor costs. Remarks, the
names of everybody and repeats are free, so length wants a gate (``conf/length/``); a caption that
says nothing gets 0, as no candidate is above the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from repic.rewards.rubric import Listen, Logprobs, RewardBatch
from repic.types import Example, ImageSource, Rollout
from repic.values import Count, Tasks

NAN = float("nan")


class ListenerReward:
    """Component ``listener``, in [0, 1]; NaN for other tasks, and where nobody could be mistaken.

    Args:
        candidates: from an example and a number to at most so many pictures to take for its own.
        number: of them.
        tasks: the tasks whose answers are captions; elsewhere the component is NaN.
    """

    components = ("listener",)
    needs_reference = listens = True

    def __init__(
        self,
        *,
        candidates: Callable[[Example, int], Sequence[ImageSource]],
        number: Count,
        tasks: Tasks,
    ) -> None:
        self.candidates, self.number, self.tasks = candidates, number, frozenset(tasks)

    def score(
        self, rollouts: Sequence[Rollout], logprobs: Logprobs | None, listen: Listen | None
    ) -> RewardBatch:
        """Score by each caption's probability in front of each candidate; NaN there has failed."""
        values = torch.full((len(rollouts), 1), NAN)
        failed = torch.zeros(len(rollouts), 1, dtype=torch.bool)
        if logprobs is None or listen is None:
            return RewardBatch(self.components, values)
        known: dict[str, Sequence[ImageSource]] = {}
        pictures: list[Sequence[ImageSource]] = []
        for example in (rollout.example for rollout in rollouts):
            if example.task in self.tasks and example.id not in known:
                known[example.id] = self.candidates(example, self.number)
            pictures.append(known[example.id] if example.task in self.tasks else ())
        # Candidate by candidate, so that rollouts of one prompt stand together.
        asked = [
            (i, _before(rollout, pictures[i][place], place))
            for place in range(self.number)
            for i, rollout in enumerate(rollouts)
            if place < len(pictures[i])
        ]
        said: list[list[Tensor]] = [[row.double().sum()] for row in logprobs]
        if asked:
            rows = listen([rollout for _, rollout in asked])
            for (i, _), row in zip(asked, rows, strict=True):
                said[i].append(row.double().sum())
        for i, sums in enumerate(said):
            if len(sums) > 1:
                values[i] = told_apart(torch.stack(sums))
                failed[i] = values[i].isnan()
        return RewardBatch(self.components, values, failed)


def _before(rollout: Rollout, picture: ImageSource, place: int) -> Rollout:
    """The same words in front of another picture."""
    example = rollout.example
    return replace(rollout, example=replace(example, id=f"{example.id}#{place}", query=picture))


def told_apart(logprobs: Float[Tensor, " _"]) -> float:
    """The target's share of the probability, if it has the largest one; NaN if any is NaN.

    Args:
        logprobs: of the caption in front of the target, and of each other candidate, in nats.

    Example:
        >>> [round(told_apart(torch.tensor(p).log()), 2) for p in ([0.6, 0.3, 0.1], [0.2, 0.2])]
        [0.6, 0.0]
    """
    if logprobs.isnan().any():
        return NAN
    if not bool(logprobs[0] > logprobs[1:].max()):
        return 0.0
    return logprobs.double().softmax(dim=0)[0].item()
