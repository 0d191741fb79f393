"""The exact judge of claims: what a caption says, compared fact by fact with the truth.

1. The truth is what the grammar reads in the references, and only references that it reads to the
   last clause count. A fact is an attribute, a place or a name of a being, or the setting.
2. A mention is about one being, whose looks and place it tells best: all pairs together agree in
   as much as can be, no being twice, and names break ties alone (so that two exchanged names are
   both wrong). A mention that is left over repeats the being that it fits best.
3. A claim is right if it is a fact of its mention's being. A name at no description, and a clause
   that cannot be read (a remark), are claims that are false.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from repic.parsing import find_names
from repic.types import Mention, Scene

Parser = Callable[[str], Scene]
Unread = Callable[[str], Collection[str]]

NAME, SETTING, REMARK = "name", "background", "remark"


class GrammarSource:
    """A judge that reads text by a grammar: exact, and Python alone.

    Args:
        parser: from a text to the facts that it states.
        unread: from a text to the clauses that ``parser`` passes over.
    """

    may_fail = False
    needs = "references that the grammar reads as a whole"

    def __init__(self, *, parser: Parser, unread: Unread) -> None:
        self.parser, self.unread = parser, unread

    def missing(self) -> None:
        """Nothing."""

    def truth(self, references: Sequence[str]) -> Scene:
        """All that complete references say: the one with most facts, and the setting of any."""
        scenes = [self.parser(text) for text in references if not self.unread(text)]
        settings = [scene.background for scene in scenes if scene.background]
        most = max(scenes, key=lambda scene: len(scene_facts(scene)), default=Scene(()))
        return Scene(most.mentions, settings[0] if settings else None)

    def facts(self, caption: str) -> list["Fact"]:
        """List what a caption says, loose names and remarks at the end."""
        said = self.parser(caption)
        placed = Counter(mention.name for mention in said.mentions if mention.name)
        loose = (Counter(find_names(caption)) - placed).elements()
        return [
            *scene_facts(said),
            *(Fact(None, NAME, name) for name in loose),
            *(Fact(None, REMARK, clause) for clause in self.unread(caption)),
        ]


@dataclass(frozen=True)
class Fact:
    """A part of the truth, or of what a caption says.

    Attributes:
        being: its place among the mentions; None for the setting, loose names and remarks.
        slot: such as "colour"; ``NAME``, ``SETTING`` or ``REMARK``.
        value: such as "red".
    """

    being: int | None
    slot: str
    value: str


@dataclass(frozen=True)
class Claim:
    """What a caption says, and the place of the fact that makes it right; None if it is false."""

    fact: Fact
    oracle: int | None


def scene_facts(scene: Scene) -> list[Fact]:
    """List what a scene holds: being by being, and the setting last.

    >>> [f.value for f in scene_facts(Scene((Mention({"colour": "red"}, "<bo>"),), "beach"))]
    ['red', '<bo>', 'beach']
    """
    facts = [
        Fact(being, slot, value)
        for being, mention in enumerate(scene.mentions)
        for slot, value in slots(mention).items()
    ]
    return facts + ([Fact(None, SETTING, scene.background)] if scene.background else [])


def judge_facts(said: Sequence[Fact], truth: Sequence[Fact]) -> list[Claim]:
    """Find for each fact that is said the true one that it is; see the module's rules."""
    mentions, beings = _by_being(said), _by_being(truth)
    being_of = assign([[_agreement(m, b, len(beings)) for b in beings] for m in mentions])
    place = {(fact.being, fact.slot, fact.value): i for i, fact in enumerate(truth)}

    def oracle(fact: Fact) -> int | None:
        if fact.being is None:
            # A loose name has no being, and the truth has no name without one.
            return place.get((None, fact.slot, fact.value))
        being = being_of[fact.being]
        return None if being is None else place.get((being, fact.slot, fact.value))

    return [Claim(fact, oracle(fact)) for fact in said]


def assign(agreements: Sequence[Sequence[int]]) -> list[int | None]:
    """Choose a column for each row: the largest sum without a column twice, then repeats.

    Args:
        agreements: how much mention (row) and being (column) have in common.

    Returns:
        A column for each row. A row that comes away empty takes its largest column, though it is
        taken; None for a row of zeros.

    Example:
        >>> assign([[3, 2], [3, 0], [1, 0], [0, 0]])
        [1, 0, 0, None]
    """
    largest = [_largest(row) for row in agreements]
    wanted = [column for column in largest if column is not None]
    if len(set(wanted)) == len(wanted):
        return largest
    # Equally good choices are decided by lot, always the same, and not by the solver.
    values = np.array(agreements)
    lots = np.random.default_rng(0).random(values.shape) / (2 * values.shape[0])
    rows, columns = linear_sum_assignment(values + lots, maximize=True)
    chosen = {i: j for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if values[i, j]}
    return [chosen.get(row, repeat) for row, repeat in enumerate(largest)]


def _agreement(mention: set[tuple[str, str]], being: set[tuple[str, str]], most: int) -> int:
    """Common facts; all names (``most`` of them at most) weigh less than one of the others."""
    common = mention & being
    is_called_so = any(slot == NAME for slot, _ in common)
    return (len(common) - is_called_so) * (most + 1) + is_called_so


def _largest(row: Sequence[int]) -> int | None:
    return max(range(len(row)), key=row.__getitem__) if any(row) else None


def _by_being(facts: Sequence[Fact]) -> list[set[tuple[str, str]]]:
    count = 1 + max((fact.being for fact in facts if fact.being is not None), default=-1)
    beings: list[set[tuple[str, str]]] = [set() for _ in range(count)]
    for fact in facts:
        if fact.being is not None:
            beings[fact.being].add((fact.slot, fact.value))
    return beings


def slots(mention: Mention) -> dict[str, str]:
    """A mention's attributes, its name among them."""
    return {**mention.attributes, **({NAME: mention.name} if mention.name else {})}
