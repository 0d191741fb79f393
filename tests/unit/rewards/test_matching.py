import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.matching import FactCounts, best_assignment, count_facts
from repic.types import Mention, Scene


def scene(*beings: str, background: str | None = None) -> Scene:
    """Beings as "colour species place"; "-" leaves a slot out."""
    slots = ("colour", "species", "place")
    return Scene(
        tuple(
            Mention({k: v for k, v in zip(slots, being.split(), strict=True) if v != "-"})
            for being in beings
        ),
        background,
    )


TRUTH = scene("red bear left", "blue cat right")


@pytest.mark.parametrize(
    ("said", "right", "stated"),
    [
        (scene("red bear left", "blue cat right"), 6, 6),
        (scene("blue cat right", "red bear left"), 6, 6),  # in any order
        (scene("red bear left"), 3, 3),
        (scene("red bear left", "red bear left"), 3, 6),  # the second one is nobody
        (scene("red bear right", "blue cat right"), 5, 6),
        (scene("red dog right", "blue cat right"), 3, 6),  # agrees in 1 of 3: nobody
        (scene("red - right"), 0, 2),  # 1 : 1 is nobody, too
        (scene("- bear -", "- - right"), 2, 2),
        (scene(), 0, 0),
        (scene("green frog middle"), 0, 3),
    ],
)
def test_count_facts_by_hand(said: Scene, right: int, stated: int) -> None:
    assert count_facts(said, TRUTH) == FactCounts(right=right, stated=stated, true=6)


def test_the_background_is_a_fact() -> None:
    truth = scene("red bear left", background="beach")
    assert count_facts(scene(background="beach"), truth) == FactCounts(1, 1, 4)
    assert count_facts(scene(background="room"), truth) == FactCounts(0, 1, 4)
    assert count_facts(scene(), truth) == FactCounts(0, 0, 4)
    assert count_facts(scene(background="room"), scene("red bear left")) == FactCounts(0, 1, 3)


def test_a_being_that_two_mentions_fit_goes_where_it_helps_most() -> None:
    # "a bear" fits both bears; the red one is needed by "a red bear".
    truth = scene("red bear left", "blue bear right")
    assert count_facts(scene("- bear -", "red bear -"), truth) == FactCounts(3, 3, 6)


matrices = st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 6), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@given(matrices)
def test_best_assignment_is_the_best_of_all(gains: list[list[int]]) -> None:
    pairs = best_assignment(gains)
    rows, columns = [i for i, _ in pairs], [j for _, j in pairs]
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    assert all(gains[i][j] > 0 for i, j in pairs)
    assert sum(gains[i][j] for i, j in pairs) == best_by_trying(gains)


def best_by_trying(gains: list[list[int]]) -> int:

    def best(i: int, free: frozenset[int]) -> int:
        if i == len(gains):
            return 0
        return max([best(i + 1, free), *(gains[i][j] + best(i + 1, free - {j}) for j in free)])

    return best(0, frozenset(range(len(gains[0]) if gains else 0)))
