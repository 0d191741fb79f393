"""Grade an answer part by part: long before it is right as a whole, parts of it are."""

from itertools import zip_longest

from repic.parsing import parse_box
from repic.toybox.grammar import parse_caption
from repic.toybox.scene import SCENE_SIZE, ToyboxImage
from repic.types import Example

LEAST_IOU = 0.5  # of a box that counts as right


def grade(example: Example, answer: str) -> dict[str, float]:
    """Compare an answer with the target, the i-th toy of one with the i-th of the other.

    Returns:
        Shares in [0, 1]: "exact" (the whole answer), and once more as "yes" or "no" if that is the
        target; where the target is a box, "box": the answer
        is one that overlaps it by an IoU of 0.5; where the target speaks of toys, each of their
        attributes, over the target's toys; and where names were introduced, "name": of the
        toys that are described rightly, in whatever order, the share with the right name, or
        with none if that is right.
    """
    scores = {"exact": float(answer.strip() in (example.target, *example.answers))}
    if example.target in ("yes", "no"):
        scores[example.target] = scores["exact"]
    if box := parse_box(example.target):
        answered = parse_box(answer)
        scores["box"] = float(answered is not None and answered.iou(box) >= LEAST_IOU)
    truth, said = (parse_caption(text).mentions for text in (example.target, answer))
    pairs = list(zip_longest(truth, said[: len(truth)]))
    for slot in truth[0].attributes if truth else ():
        right = [s is not None and s.attributes.get(slot) == t.attributes[slot] for t, s in pairs]
        scores[slot] = sum(right) / len(right)
    names = {tuple(sorted(t.attributes.items())): t.name for t in truth}
    described = [(tuple(sorted(s.attributes.items())), s.name) for s in said]
    named = [names[what] == name for what, name in described if what in names]
    if example.references and named:
        scores["name"] = sum(named) / len(named)
    return scores


def count_toys(example: Example) -> int:
    """How many toys are in an example's scene, or introduced where it is about none."""
    query = example.query
    if isinstance(query, ToyboxImage) and query.size == SCENE_SIZE:
        return len(query.beings)
    return len(example.references)
