"""Captions mixed with other tasks, as RePIC trains: comparing, locating, naming.

https://arxiv.org/abs/2506.18369, appendix B.4: about 31 % of the samples ask for captions (identity
consistency), 4.7 % of all for captions of several concepts; how the others divide into object
consistency and localization is not stated.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Predicate

from repic.toybox.dataset import CaptionDataset
from repic.toybox.tasks import TASKS
from repic.types import Example
from repic.values import Coefficient

CAPTION = "caption"


def draws_something(shares: Mapping[str, float]) -> bool:
    """A mapping from tasks to numbers of 0 or more, one of them above 0."""
    return any(shares.values())


Task = Annotated[str, Predicate((CAPTION, *TASKS).__contains__)]
Shares = Annotated[Mapping[Task, Coefficient], Predicate(draws_something)]


@dataclass(eq=False, kw_only=True)
class TaskMixture(CaptionDataset):
    """``dataset[i]`` is the i-th example, for ever the same: a caption's, or another task's.

    Attributes:
        shares: how often each task is drawn, in any unit: ``caption`` or one of ``tasks.TASKS``.
        others: see ``CaptionDataset``; the counts are of the captions.
    """

    shares: Shares

    def __getitem__(self, index: int) -> Example:
        key = f"{self.seed}/{self.split}"
        rng = random.Random(f"toybox/mixture/{key}/{index}")
        (task,) = rng.choices(list(self.shares), list(self.shares.values()))
        if task == CAPTION or not 0 <= index < self.size:  # which is refused there
            return super().__getitem__(index)
        return TASKS[task](f"{key}/{task}/{index}", self.split, rng, self.scale)
