"""Are the given names used? RePIC's identity consistency (ICT), for one concept and for several.

With n of the m names of those present in the caption, letter by letter and with their brackets:

    single_identity = n, or 0 if the closing tag ``</name>`` stands in the caption     (m = 1)
    multi_identity  = n / m                                                            (m > 1)

https://arxiv.org/abs/2506.18369, equations 4 and 5, as the released script computes them: a name
is searched for as a string, so ``<<bo>>`` names ``<bo>``; closing tags count against one concept
only. A name of someone who is absent costs nothing: the paper trains on prompts that introduce
only who is there. The paper's gate on length is a condition of the rubric
(conf/length/minimum.yaml), and no part of the reward.
"""

from repic.types import Example
from repic.values import Tasks

NAN = float("nan")


class IdentityReward:
    """Components ``single_identity`` (0 or 1) and ``multi_identity`` (in [0, 1]).

    One of them is NaN, according to how many are present; both are for other tasks, and where
    nobody is.

    Args:
        tasks: the tasks whose answers are judged by names.
    """

    components = ("single_identity", "multi_identity")

    def __init__(self, *, tasks: Tasks) -> None:
        self.tasks = frozenset(tasks)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        names = example.present
        if example.task not in self.tasks or not names:
            return {"single_identity": NAN, "multi_identity": NAN}
        share = sum(name in caption for name in names) / len(names)
        if len(names) > 1:
            return {"single_identity": NAN, "multi_identity": share}
        is_hacked = any(name.replace("<", "</") in caption for name in names)
        return {"single_identity": 0.0 if is_hacked else share, "multi_identity": NAN}
