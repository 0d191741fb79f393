from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.detectors.annotations import ground_truth_entities
from repic.rewards.recognition import RecognitionReward
from repic.types import Example, Reference

NAMES = ["<a>", "<b>", "<c>", "<d>", "<e>", "<f>", "<g>"]
counts = st.tuples(st.integers(1, 5), st.integers(1, 2))  # present, absent


def make_example(present: list[str], absent: list[str], task: str = "caption") -> Example:
    return Example(
        id="x",
        task=task,
        references=tuple(Reference(name, "a toy", None) for name in [*absent, *present]),
        present=tuple(present),
        num_concepts=len(present),
    )


def score(caption: str, example: Example, absent_cost: float = 1.0) -> float:
    reward = RecognitionReward(
        detector=ground_truth_entities, absent_cost=absent_cost, tasks=["caption"]
    )
    parts = reward(caption, example)
    assert tuple(parts) == reward.components
    return parts["recognition"]


def of_sizes(num_present: int, num_absent: int) -> Example:
    return make_example(NAMES[:num_present], NAMES[num_present : num_present + num_absent])


@pytest.mark.parametrize(
    ("caption", "absent_cost", "expected"),
    # Two are present (a, b), two are absent (c, d).
    [
        ("<a> and <b>", 1.0, 1.0),
        ("<a>", 1.0, 0.5),
        ("<a> <a> <a>", 1.0, 0.5),
        ("nobody", 1.0, 0.0),
        ("<a> <b> <c>", 1.0, 0.5),
        ("<a> <b> <c>", 0.5, 0.75),
        ("<a> <c>", 1.0, 0.0),
        ("<a> <b> <c> <d>", 1.0, 0.0),
        ("<c> <d>", 1.0, -1.0),
        ("<x> <y> <z>", 1.0, -1.0),  # made up, and down to the floor
        ("<a> <b> </a>", 1.0, 0.5),
        ("a b <<a>> <A>", 1.0, -0.5),  # only <A> is a name, and nobody's
    ],
)
def test_by_hand(caption: str, absent_cost: float, expected: float) -> None:
    assert score(caption, of_sizes(2, 2), absent_cost) == pytest.approx(expected)


@given(counts)
def test_only_the_exact_set_earns_the_most(sizes: tuple[int, int]) -> None:
    example = of_sizes(*sizes)
    for size in range(len(example.pool) + 1):
        for named in combinations(example.pool, size):
            earned = score(" ".join(named), example)
            assert (earned == 1.0) == (set(named) == set(example.present))
            assert -1 <= earned <= 1


@given(counts)
def test_naming_everybody_pays_as_much_as_naming_no_one(sizes: tuple[int, int]) -> None:
    example = of_sizes(*sizes)
    assert score(" ".join(example.pool), example) == pytest.approx(0)
    assert score("", example) == 0


@given(counts, st.integers(1, 6))
def test_guessing_pays_nothing_on_average(sizes: tuple[int, int], size: int) -> None:
    example = of_sizes(*sizes)
    guesses = list(combinations(example.pool, min(size, len(example.pool))))
    mean = sum(score(" ".join(guess), example) for guess in guesses) / len(guesses)
    assert mean == pytest.approx(0)


@given(counts, st.lists(st.sampled_from([*NAMES, "<zz>", "</a>"])), st.integers(0, 6))
def test_every_wrong_name_costs_and_every_right_one_pays(
    sizes: tuple[int, int], said: list[str], which: int
) -> None:
    example = of_sizes(*sizes)
    before = score(" ".join(said), example)
    name = NAMES[which]
    after = score(" ".join([*said, name]), example)
    if name in said:
        assert after == before
    elif name in example.present:
        assert after > before or after == -1
    else:
        assert after < before or after == -1


def test_without_absent_references_a_wrong_name_costs_a_present_one() -> None:
    assert score("<a> <b> <x>", make_example(["<a>", "<b>"], [])) == pytest.approx(0.5)


def test_with_nobody_present_silence_is_right() -> None:
    example = make_example([], ["<c>", "<d>"])
    assert score("a bear", example) == 0
    assert score("<c>", example) == -0.5


def test_the_detector_is_believed() -> None:
    reward = RecognitionReward(detector=lambda _: {"<b>"}, absent_cost=1.0, tasks=["caption"])
    assert reward("<b>", of_sizes(1, 2))["recognition"] == 1.0


def test_other_tasks_are_not_judged() -> None:
    value = score("<a>", make_example(["<a>"], [], task="same"))
    assert value != value


def test_another_apostrophe_or_composition_is_the_same_name() -> None:
    example = make_example(["<O'Brien>", "<Zoë>"], ["<bo>"])
    assert score("<O’Brien> meets <Zoe\u0308>", example) == 1
    assert score("<O'Brien> meets <Zoe>", example) < 1
