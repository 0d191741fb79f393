"""Rewards by a source that is asked about many captions at a time, and may fail to answer."""

from collections.abc import Callable, Collection, Sequence

import torch

from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout

Answers = Sequence[Sequence[float | None]]


def score_where_it_applies(
    rollouts: Sequence[Rollout],
    names: tuple[str, ...],
    *,
    tasks: Collection[str],
    applies: Callable[[Example], bool],
    question: Callable[[Sequence[str], Sequence[Example]], Answers],
) -> RewardBatch:
    """Ask about the captions that a question applies to.

    Args:
        rollouts: of any prompts.
        names: of the components that an answer holds.
        tasks: the tasks whose answers are captions.
        applies: whether captions of an example can be judged.
        question: asked of captions with their examples, all at once. An answer has a number for
            each component: NaN where that does not apply, None where it could not be had.

    Returns:
        NaN where something does not apply; NaN and failed where it could not be had.
    """
    asked = [i for i, r in enumerate(rollouts) if r.example.task in tasks and applies(r.example)]
    captions, examples = [rollouts[i].text for i in asked], [rollouts[i].example for i in asked]
    shape = (len(rollouts), len(names))
    values, failed = torch.full(shape, float("nan")), torch.zeros(shape, dtype=torch.bool)
    for i, answer in zip(asked, question(captions, examples), strict=True):
        failed[i] = torch.tensor([value is None for value in answer])
        values[i] = torch.tensor([float("nan") if value is None else value for value in answer])
    return RewardBatch(names, values, failed)
