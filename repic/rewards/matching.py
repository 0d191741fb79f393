"""Which being of a picture each mention of a caption is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from repic.types import Mention, Scene


@dataclass(frozen=True)
class FactCounts:
    """Facts of a caption: how many are right, how many it states, how many are true."""

    right: int
    stated: int
    true: int


def num_agreeing(said: Mention, being: Mention) -> int:
    """Count the stated attributes that are true of a being."""
    return len(said.attributes.items() & being.attributes.items())


def count_facts(said: Scene, truth: Scene) -> FactCounts:
    """Compare what a caption states with what is there.

    A mention is about at most one being and a being has at most one mention, chosen so that
    agreements minus disagreements are the most in all. A mention that agrees with its being in no
    more facts than it disagrees is about no one. So a being that is described a second time, and
    one that is not there, count as stated, and not as right.

    A fact is an attribute of a being, and the background.
    """
    gains = [
        [
            max(0, 2 * num_agreeing(mention, being) - len(mention.attributes))
            for being in truth.mentions
        ]
        for mention in said.mentions
    ]
    right = sum(
        num_agreeing(said.mentions[i], truth.mentions[j]) for i, j in best_assignment(gains)
    )
    is_setting_right = said.background is not None and said.background == truth.background
    return FactCounts(
        right=right + is_setting_right,
        stated=_num_facts(said),
        true=_num_facts(truth),
    )


def _num_facts(scene: Scene) -> int:
    return sum(len(m.attributes) for m in scene.mentions) + (scene.background is not None)


def best_assignment(gains: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once, so that the pairs' gains are the most in all.

    The Hungarian algorithm with potentials, https://doi.org/10.1002/nav.3800020109, in its O(n³)
    form: rows are added one at a time along the cheapest path that makes room for them.

    Args:
        gains: a row for each mention, a column for each being; none is negative.

    Returns:
        Pairs (row, column) with a gain above 0, by row.

    Example:
        >>> best_assignment([[3, 3], [3, 0]])
        [(0, 1), (1, 0)]
    """
    num_rows, num_columns = len(gains), max(map(len, gains), default=0)
    size = max(num_rows, num_columns)
    costs = [[0] * size for _ in range(size)]  # square: who is about no one costs nothing
    for i, row in enumerate(gains):
        for j, gain in enumerate(row):
            costs[i][j] = -gain
    # The last column is a doorstep: the row that waits to be seated stands there.
    row_of = [-1] * (size + 1)
    potentials = ([0.0] * size, [0.0] * (size + 1))
    for row in range(size):
        row_of[size] = row
        _seat(costs, row_of, potentials)
    pairs = sorted((row_of[j], j) for j in range(num_columns))
    return [(i, j) for i, j in pairs if i < num_rows and gains[i][j] > 0]


def _seat(
    costs: list[list[int]], row_of: list[int], potentials: tuple[list[float], list[float]]
) -> None:
    """Find a column for the row on the doorstep, moving others where that is cheapest."""
    size = len(costs)
    row_potential, column_potential = potentials
    slack, previous = [float("inf")] * size, [size] * size
    visited, column = [], size
    while row_of[column] >= 0:
        visited.append(column)
        row = row_of[column]
        waiting = [j for j in range(size) if j not in visited]
        for j in waiting:
            reduced = costs[row][j] - row_potential[row] - column_potential[j]
            if reduced < slack[j]:
                slack[j], previous[j] = reduced, column
        column = min(waiting, key=slack.__getitem__)
        delta = slack[column]
        for j in visited:
            row_potential[row_of[j]] += delta
            column_potential[j] -= delta
        for j in waiting:
            slack[j] -= delta
    while column != size:
        row_of[column] = row_of[previous[column]]
        column = previous[column]
    row_of[size] = -1
