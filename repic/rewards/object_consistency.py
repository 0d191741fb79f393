"""Is it the same being? RePIC's object consistency (OCT): yes or no, checked against the truth.

    object_consistency = 1 if the answer's first "yes" or "no" is the right one, else 0

https://arxiv.org/abs/2506.18369, equation 2. How an answer is read is the configuration's choice:
``parsing.parse_yes_no_anywhere`` as the released script does, which finds "no" in "another" and
"yes" in "eyes", or ``parsing.parse_yes_no``, which reads words.
"""

from collections.abc import Callable

from repic.types import Example
from repic.values import Tasks


class ObjectConsistencyReward:
    """Component ``object_consistency``, 0 or 1; NaN for other tasks.

    Args:
        parser: from a text to "yes", "no" or None.
        tasks: the tasks that ask a question of yes or no; the truth is the example's target.
    """

    components = ("object_consistency",)

    def __init__(self, *, parser: Callable[[str], str | None], tasks: Tasks) -> None:
        self.parser, self.tasks = parser, frozenset(tasks)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        if example.task not in self.tasks:
            return {"object_consistency": float("nan")}
        truth = self.parser(example.target)
        if truth is None:
            raise ValueError(
                f"{example.id}: the target {example.target!r} says neither yes nor no; mend it, or"
                " leave its task out of reward.rubric.rewards.object_consistency.tasks"
            )
        return {"object_consistency": float(self.parser(caption) == truth)}
