"""Who is there *when*, in a clip? The recognition reward, picture by picture.

With P the pairs (name, frame) of the beings in the frames, A all other pairs of a frame and a name
that the prompt introduces, and S the pairs that the caption says:

    presence = |S ∩ P| / |P|  -  |S - P| / |A|,   at least -1

A sentence says its names of the frames whose times lie in one of its times ("from 1 s to 5 s",
"at 3 s"), and of all frames if it says no time. So naming everybody, always or at random times,
gives on average what naming no one gives, 0, as ``recognition`` explains; S is a set, so nothing
is gained by saying it again; and a name that is nobody's costs what a wrong one does.
"""

import re

from repic.parsing import find_names, find_times
from repic.types import Clip, Example
from repic.values import Tasks

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")


class PresenceReward:
    """Component ``presence``, in [-1, 1]; NaN where it is not known who is in which frame.

    Args:
        tasks: the tasks whose answers are judged by names; elsewhere the component is NaN.
    """

    components = ("presence",)

    def __init__(self, *, tasks: Tasks) -> None:
        self.tasks = frozenset(tasks)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        if example.task not in self.tasks or not isinstance(example.query, Clip):
            return {"presence": float("nan")}
        seconds = [frame.second for frame in example.query.frames]
        truth = {
            (mention.name, second)
            for mention in (example.scene.mentions if example.scene else ())
            if mention.name
            for second in covered(mention.attributes.get("time", ""), seconds)
        }
        if not truth:
            return {"presence": float("nan")}
        said = {
            (name, second)
            for sentence in _SENTENCE_END.split(caption)
            for second in covered(sentence, seconds)
            for name in find_names(sentence, example.pool)
        }
        num_others = len({*example.pool, *example.present}) * len(seconds) - len(truth)
        hit_rate = len(said & truth) / len(truth)
        false_rate = len(said - truth) / max(num_others, 1)
        return {"presence": max(-1.0, hit_rate - false_rate)}


def covered(text: str, seconds: list[float]) -> list[float]:
    """Those of some moments that a text speaks of; all, if it says no time."""
    times = find_times(text)
    return [s for s in seconds if not times or any(t.begin <= s <= t.end for t in times)]
