"""How long is a caption? Measures for conditions to look at, and two penalties.

Words are ``parsing.tokenize_caption``'s, a name being one; tokens are the policy's, without the
end token. None of these is a reward of its own: the measures have weight 0 and are what the masks
in ``conf/length/`` look at.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch

from repic.parsing import tokenize_caption
from repic.rewards.rubric import RewardBatch
from repic.types import Example, Rollout
from repic.values import Amount, Positive, PositiveShare, Tasks

NAN = float("nan")


def num_tokens(rollout: Rollout) -> float:
    """Tokens of a completion without the end token; NaN where no model wrote it."""
    count = len(rollout.completion_ids)
    return float(count - rollout.finished) if count else NAN


def length_ratio(caption: str, references: Sequence[str]) -> float:
    """Words of a caption / mean number of words of its references; NaN without any.

    >>> length_ratio("a red bear", ["a bear", "here we see a bear", "a red bear sits here"])
    0.75
    """
    mean = _mean_words(tuple(references))
    return len(tokenize_caption(caption)) / mean if mean else NAN


@lru_cache(maxsize=256)  # the rollouts of a group share their references
def _mean_words(texts: tuple[str, ...]) -> float:
    return sum(len(tokenize_caption(text)) for text in texts) / max(len(texts), 1)


class LengthMeasures:
    """Components ``length_ratio``, ``words``, ``characters`` and ``tokens``, for every task.

    ``length_ratio`` is NaN where the example has no answers, ``tokens`` where no model wrote the
    caption.
    """

    components = ("length_ratio", "words", "characters", "tokens")

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        rows = [
            [
                length_ratio(rollout.text, rollout.example.answers),
                float(len(tokenize_caption(rollout.text))),
                float(len(rollout.text)),
                num_tokens(rollout),
            ]
            for rollout in rollouts
        ]
        values = torch.tensor(rows).view(len(rollouts), len(self.components))
        return RewardBatch(self.components, values)


class LengthExcess:
    """Component ``length_excess``, in [-1, 0]: minus what a caption is too long by, linearly.

        length_excess = -min(1, slope * max(0, length_ratio - knee))

    BalCapRL compares its mask with a linear length penalty whose form is not known; this is ours.

    Args:
        knee: the ratio from which on words cost something.
        slope: what a caption that is longer by the reference's length loses.
        tasks: the tasks whose answers are captions; elsewhere the component is NaN, as it is
            where there are no answers.
    """

    components = ("length_excess",)

    def __init__(self, *, knee: Positive, slope: Positive, tasks: Tasks) -> None:
        self.knee, self.slope, self.tasks = knee, slope, frozenset(tasks)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        if example.task not in self.tasks or not _mean_words(example.answers):
            return {"length_excess": NAN}
        excess = max(0.0, length_ratio(caption, example.answers) - self.knee)
        return {"length_excess": -min(1.0, self.slope * excess)}


class Overlong:
    """Component ``overlong``, in [-1, 0]: DAPO's soft overlong punishment.

    https://arxiv.org/abs/2503.14476, equation 13, with L_max = ``max_tokens`` and
    L_cache = ``cache_share`` of it: 0 up to L_max - L_cache, from there linearly down to -1 at
    L_max, and -1 beyond. NaN where no model wrote the caption.

    Args:
        max_tokens: of the longest completion.
        cache_share: how much of it, at its end, costs something; above 0, and at most 1.
    """

    components = ("overlong",)

    def __init__(self, *, max_tokens: Amount, cache_share: PositiveShare) -> None:
        self.max_tokens, self.num_cached = max_tokens, cache_share * max_tokens

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        lengths = torch.tensor([num_tokens(rollout) for rollout in rollouts])
        excess = lengths - (self.max_tokens - self.num_cached)
        # + 0.0: where nothing is due, 0 and not -0.
        values = (-excess / self.num_cached).clamp(-1.0, 0.0) + 0.0
        return RewardBatch(self.components, values[:, None])
