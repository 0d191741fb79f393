"""Is the box right? RePIC's visual localization (VLT): overlap with the true box.

    localization = 1 if IoU(box in the answer, true box) >= threshold, else 0

https://arxiv.org/abs/2506.18369, equation 3; IoU is intersection over union. Two ways to compute
it, the configuration's choice:

- ``repic.types.Box.iou``: areas of rectangles on the plane; a box without area overlaps nothing.
- ``released_iou``: as the released script does, with the last pixel of the intersection
  inclusive. The two differ where boxes overlap by a strip of at most one pixel, which the script
  does not see, where an intersection has an area and a box has none, and where the union is less
  than a pixel.

Both expect boxes in pixels of the same picture. A model that is shown a picture of another size
than the true box was measured in answers in the pixels that it was shown.
"""

from collections.abc import Callable

from repic.parsing import parse_box
from repic.types import Box, Example
from repic.values import PositiveShare, Tasks


def released_iou(a: Box, b: Box) -> float:
    """The same with whole pixels of which the last one belongs to the intersection.

    >>> released_iou(Box(0.0, 0.0, 4.0, 4.0), Box(3.0, 0.0, 7.0, 4.0))  # a column in common
    0.0
    """
    x0, y0 = max(a.x0, b.x0), max(a.y0, b.y0)
    x1, y1 = min(a.x1, b.x1) - 1, min(a.y1, b.y1) - 1
    overlap = (x1 - x0 + 1) * (y1 - y0 + 1) if x0 < x1 and y0 < y1 else 0.0
    return overlap / max(1.0, a.area + b.area - overlap)


class LocalizationReward:
    """Component ``localization``, 0 or 1; NaN for other tasks.

    Args:
        parser: from an answer to the box that it states, or None.
        iou: overlap of two boxes.
        threshold: the least overlap that counts as right.
        tasks: the tasks that ask for a box; the truth is in the example's target.
    """

    components = ("localization",)

    def __init__(
        self,
        *,
        parser: Callable[[str], Box | None],
        iou: Callable[[Box, Box], float],
        threshold: PositiveShare,
        tasks: Tasks,
    ) -> None:
        self.parser, self.iou, self.threshold = parser, iou, threshold
        self.tasks = frozenset(tasks)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        if example.task not in self.tasks:
            return {"localization": float("nan")}
        truth = parse_box(example.target)
        if truth is None:
            raise ValueError(
                f"{example.id}: the target {example.target!r} is not a box [x0, y0, x1, y1]; mend"
                " it, or leave its task out of reward.rubric.rewards.localization.tasks"
            )
        said = self.parser(caption)
        is_right = said is not None and self.iou(said, truth) >= self.threshold
        return {"localization": float(is_right)}
