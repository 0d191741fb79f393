import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.length import LengthExcess, LengthMeasures, Overlong, length_ratio, num_tokens
from repic.types import Example, Rollout


def example(*answers: str, task: str = "caption") -> Example:
    return Example("", task, (), None, "", "", answers, (), 1)


def rollout(text: str, *answers: str, ids: int = 0, finished: bool = True) -> Rollout:
    tokens = torch.zeros(ids, dtype=torch.long)
    return Rollout(example(*answers), text, tokens, torch.zeros(ids), finished)


def test_measures_by_hand() -> None:
    cut = rollout(
        "A bear, <Miss Bo>!", "a bear", "a red bear sits here, too", ids=9, finished=False
    )
    whole = rollout("", "a bear", ids=1)
    unwritten = rollout("Here is <bo>.")
    batch = LengthMeasures().score([cut, whole, unwritten])
    assert batch.names == ("length_ratio", "words", "characters", "tokens")
    wanted = [[0.75, 3, 18, 9], [0, 0, 0, 0], [math.nan, 3, 13, math.nan]]
    assert torch.allclose(batch.values, torch.tensor(wanted), equal_nan=True)
    assert LengthMeasures().score([]).values.shape == (0, 4)


@given(st.integers(0, 30), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_the_ratio_compares_with_the_mean_of_the_references(said: int, lengths: list[int]) -> None:
    references = ["word " * length for length in lengths]
    ratio = length_ratio("word " * said, references)
    assert ratio == pytest.approx(said / (sum(lengths) / len(lengths)))


def test_references_without_words_give_no_ratio() -> None:
    assert math.isnan(length_ratio("a bear", []))
    assert math.isnan(length_ratio("a bear", ["...", ""]))


EXCESS = {4: 0.0, 8: 0.0, 10: 0.0, 11: -0.2, 12: -0.4, 15: -1.0, 50: -1.0}


@pytest.mark.parametrize("words", EXCESS)
def test_linear_penalty_by_hand(words: int) -> None:
    penalty = LengthExcess(knee=1.25, slope=1.6, tasks=["caption"])
    found = penalty("word " * words, example("word " * 8))
    assert found == {"length_excess": pytest.approx(EXCESS[words])}


@given(st.integers(0, 60), st.floats(0.1, 3), st.floats(0.1, 5))
def test_linear_penalty_only_grows_with_length(words: int, knee: float, slope: float) -> None:
    penalty = LengthExcess(knee=knee, slope=slope, tasks=["caption"])
    short, long = (
        penalty("word " * n, example("word " * 10))["length_excess"] for n in (words, words + 1)
    )
    assert -1 <= long <= short <= 0
    assert short == 0 or words > 10 * knee


def test_linear_penalty_where_there_is_nothing_to_compare_with() -> None:
    penalty = LengthExcess(knee=1.0, slope=1.0, tasks=["caption"])
    for other in (example(), example("..."), example("yes", task="same")):
        assert math.isnan(penalty("a bear", other)["length_excess"])


# DAPO's equation 13 with L_max = 20 and L_cache = 5.
OVERLONG = {1: 0.0, 15: 0.0, 16: -0.2, 18: -0.6, 20: -1.0, 21: -1.0, 99: -1.0}


@pytest.mark.parametrize("tokens", OVERLONG)
def test_soft_overlong_punishment_by_hand(tokens: int) -> None:
    reward = Overlong(max_tokens=20, cache_share=0.25)
    cut = rollout("text", ids=tokens, finished=False)
    ended = rollout("text", ids=tokens + 1, finished=True)
    values = reward.score([cut, ended, rollout("no model wrote this")]).values[:, 0]
    assert values[:2].tolist() == pytest.approx([OVERLONG[tokens]] * 2)
    assert values[2].isnan()
    assert not values[:2].signbit().any() or OVERLONG[tokens]


def test_the_end_token_does_not_count() -> None:
    assert num_tokens(rollout("", ids=3, finished=True)) == 2
    assert num_tokens(rollout("", ids=3, finished=False)) == 3
