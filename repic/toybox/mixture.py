"""Captions mixed with other tasks, as RePIC trains: comparing, locating, naming.

https://arxiv.org/abs/2506.18369, appendix B.4: about 31 % of the samples ask for captions (identity
consistency), 4.7 % of all for captions of several concepts; how the others divide into object
consistency and localization is not stated.
"""

import random
from collections.abc import Mapping
from typing import Annotated

from annotated_types import Predicate

from repic.toybox.dataset import CaptionDataset, SceneRules, Split
from repic.toybox.tasks import TASKS
from repic.types import Example
from repic.values import Coefficient, ConceptCounts, Count, Questions, Scale, Seed

CAPTION = "caption"


def draws_something(shares: Mapping[str, float]) -> bool:
    """A mapping from tasks to numbers of 0 or more, one of them above 0."""
    return any(shares.values())


Task = Annotated[str, Predicate((CAPTION, *TASKS).__contains__)]
Shares = Annotated[Mapping[Task, Coefficient], Predicate(draws_something)]


class TaskMixture:
    """``dataset[i]`` is the i-th example, for ever the same: a caption's, or another task's.

    Args:
        shares: how often each task is drawn, in any unit: ``caption`` or one of ``tasks.TASKS``.
        split, counts, size, seed, rules, questions, scale: see ``CaptionDataset``; the counts are
            of the captions.
    """

    follows_from_settings = True  # see repic.data.contents

    def __init__(
        self,
        split: Split,
        *,
        shares: Shares,
        counts: ConceptCounts,
        size: Count,
        seed: Seed,
        rules: SceneRules,
        questions: Questions,
        scale: Scale,
    ) -> None:
        self.shares = dict(shares)
        self.captions = CaptionDataset(
            split,
            counts=counts,
            size=size,
            seed=seed,
            rules=rules,
            questions=questions,
            scale=scale,
        )

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Example:
        captions = self.captions
        if not 0 <= index < len(captions):
            raise IndexError(index)
        key = f"{captions.seed}/{captions.split}"
        rng = random.Random(f"toybox/mixture/{key}/{index}")
        (task,) = rng.choices(list(self.shares), list(self.shares.values()))
        if task == CAPTION:
            return captions[index]
        return TASKS[task](f"{key}/{task}/{index}", captions.split, rng, captions.scale)
