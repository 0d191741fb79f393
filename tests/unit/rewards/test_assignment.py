import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.assignment import FactCounts, count_facts, num_agreeing
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


slots = st.fixed_dictionaries(
    {}, optional={slot: st.sampled_from("ab") for slot in ("colour", "species", "place")}
)
crowds = st.lists(slots, max_size=4).map(lambda some: Scene(tuple(map(Mention, some))))


@given(crowds, crowds)
def test_no_other_pairing_is_better_and_none_as_good_has_less_wrong(
    said: Scene, truth: Scene
) -> None:
    counts = count_facts(said, truth)
    gain, wrong = best_by_trying(said, truth)
    assert counts.right == gain - wrong
    backwards = Scene(said.mentions[::-1]), Scene(truth.mentions[::-1])
    assert count_facts(*backwards) == counts


def best_by_trying(said: Scene, truth: Scene) -> tuple[int, int]:
    """The most agreements minus disagreements, and less the fewest disagreements with that."""

    def best(i: int, free: frozenset[int]) -> tuple[int, int]:
        if i == len(said.mentions):
            return 0, 0
        options = [best(i + 1, free)]
        for j in free:
            agreeing = num_agreeing(said.mentions[i], truth.mentions[j])
            wrong = len(said.mentions[i].attributes) - agreeing
            rest = best(i + 1, free - {j})
            if agreeing > wrong:
                options.append((agreeing - wrong + rest[0], rest[1] - wrong))
        return max(options)

    return best(0, frozenset(range(len(truth.mentions))))
