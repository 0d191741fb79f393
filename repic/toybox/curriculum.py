"""A mixture of tasks that changes as training proceeds."""

import random
from collections.abc import Mapping, Sequence
from typing import Annotated, TypedDict

from annotated_types import MinLen

from repic.toybox.dataset import Split
from repic.toybox.tasks import TASKS
from repic.types import Example
from repic.values import Coefficient, Count, PositiveShare, Scale, Seed, Text


class Stage(TypedDict):
    """Part of a curriculum: its end, as a share of the training, and weights by task."""

    until: PositiveShare
    groups: Annotated[Sequence[Annotated[Mapping[Text, Coefficient], MinLen(1)]], MinLen(1)]


class Curriculum:
    """Practice examples; ``dataset[i]`` depends on how far along ``i`` is.

    Examples come in blocks whose members belong to one group of tasks, so that a micro-batch
    holds prompts of similar length. Blocks take a stage's groups in turn.

    Args:
        split: "train" or "val".
        size: number of examples.
        seed: another seed gives other examples.
        block: examples of a block.
        stages: each with ``until``, the share of the training where it ends (the last one's is
            1), and ``groups``, lists of weights by task (see ``tasks.TASKS``).
        scale: resolution of the pictures.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: Count,
        seed: Seed,
        block: Count,
        stages: Sequence[Stage],
        scale: Scale,
    ) -> None:
        ends = [stage["until"] for stage in stages]
        if ends != sorted(ends) or not ends or ends[-1] != 1:
            raise ValueError(f"curriculum: 'until' must rise to 1, and is {ends}")
        groups = [group for stage in stages for group in stage["groups"]]
        if unknown := {task for group in groups for task in group} - TASKS.keys():
            known = ", ".join(TASKS)
            raise ValueError(f"curriculum: no task {sorted(unknown)}; there are {known}")
        self.split, self.size, self.seed = split, size, seed
        self.block, self.stages, self.scale = block, stages, scale

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(index)
        # Validation shows what is asked for in the end, from its first example on.
        progress = index / self.size if self.split == "train" else 1.0
        stage = next((s for s in self.stages if progress < s["until"]), self.stages[-1])
        group = stage["groups"][index // self.block % len(stage["groups"])]
        key = f"{self.seed}/{self.split}/practice/{index}"
        rng = random.Random(f"toybox/{key}")
        task = rng.choices(list(group), list(group.values()))[0]
        return TASKS[task](key, self.split, rng, self.scale)
