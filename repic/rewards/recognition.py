"""Are the right beings named? The entity detector's verdict against the names in the caption.

With P the names of the beings in the picture, A the other names that the prompt introduces, and S
the set of names that the caption uses:

    recognition = |S ∩ P| / |P|  -  absent_cost * |S - P| / |A|,   at least -1

Why it cannot be stuffed, at an ``absent_cost`` of 1 (Youden's J, the hit rate minus the false
alarm rate, https://doi.org/10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3):

- naming everybody gives 1 - 1 = 0, as much as naming no one; so does, on average, naming each at
  random at whatever rate: only having looked pays, however many are present or absent;
- S is a set: a name that is repeated counts once;
- a name that the prompt does not introduce, a closing tag ``</bo>`` or another spelling are in S
  and not in P: they cost what naming an absent being costs;
- a name counts only between brackets, spelled as in the prompt;
- 1 is reached by the set P exactly, so the best reward is the exact answer, and every single
  mistake, either way, costs something at every number of concepts.

The floor of -1 keeps one rollout full of made-up names from drowning its siblings' differences
in the group's std.
"""

from collections.abc import Callable, Collection

from repic.parsing import find_names
from repic.types import Example
from repic.values import Coefficient, Tasks


class RecognitionReward:
    """Component ``recognition``, in [-1, 1]; see the module's docstring for the formula.

    Without absent references (A empty) a wrong name costs as much as a missing one; with nobody
    present, naming no one gives 0.

    Args:
        detector: from an example to the names that are in its picture, or to None if it cannot
            tell; then the component is NaN.
        absent_cost: what naming every absent being costs, in units of what naming every present
            one gains. Below 1, guessing pays.
        tasks: the tasks whose answers are judged by names; elsewhere the component is NaN.
    """

    components = ("recognition",)

    def __init__(
        self,
        *,
        detector: Callable[[Example], Collection[str] | None],
        absent_cost: Coefficient,
        tasks: Tasks,
    ) -> None:
        self.detector, self.absent_cost = detector, absent_cost
        self.tasks = frozenset(tasks)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        found = self.detector(example) if example.task in self.tasks else None
        if found is None:
            return {"recognition": float("nan")}
        present = set(found)
        named = set(find_names(caption, {*present, *example.pool}))
        num_absent = len(set(example.pool) - present) or len(present) or 1
        hit_rate = len(named & present) / max(len(present), 1)
        false_rate = len(named - present) / num_absent
        return {"recognition": max(-1.0, hit_rate - self.absent_cost * false_rate)}
