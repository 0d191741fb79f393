import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.likelihood import LikelihoodReward, inverse_perplexity
from repic.rewards.rubric import Rubric
from repic.types import Example, Rollout

NAN = float("nan")
rows = st.lists(st.floats(-50, 0), min_size=1, max_size=20)


def make_rollout(num_tokens: int, task: str = "caption") -> Rollout:
    example = Example("x7", task, (), None, "", "", (), (), 1)
    # The sampler's log-probabilities are no business of this reward.
    sampled = torch.full((num_tokens,), -9.0)
    return Rollout(example, "a toy", torch.zeros(num_tokens, dtype=torch.long), sampled, True)


def score(*given: list[float], tasks: tuple[str, ...] = ("caption",)) -> list[float]:
    logprobs = [torch.tensor(row) for row in given]
    rollouts = [make_rollout(len(row)) for row in given]
    batch = LikelihoodReward(tasks=tasks).score(rollouts, logprobs)
    assert batch.names == ("likelihood",)
    return batch.values[:, 0].tolist()


def test_by_hand() -> None:
    # Token probabilities 1/2 and 1/8: their geometric mean is 1/4, perplexity 4. One of 1/2 alone
    # is likelier. Four tokens of which each is sure: 1.
    two = [math.log(0.5), math.log(0.125)]
    assert score(two, [math.log(0.5)], [0.0] * 4) == pytest.approx([0.25, 0.5, 1.0])


def test_length_by_itself_neither_pays_nor_costs() -> None:
    short, long = score([-0.5] * 3, [-0.5] * 300)
    assert short == pytest.approx(long)


@given(rows)
def test_it_is_the_inverse_of_the_perplexity(row: list[float]) -> None:
    value = inverse_perplexity(torch.tensor(row))
    perplexity = math.exp(-sum(row) / len(row))
    assert value == pytest.approx(1 / perplexity, rel=1e-4, abs=1e-30)
    assert math.exp(min(row)) * 0.999 <= value <= min(math.exp(max(row)) * 1.001, 1.0)


@given(rows, st.integers(0, 19), st.floats(0.01, 5))
def test_a_likelier_token_makes_a_likelier_caption(
    row: list[float], where: int, gain: float
) -> None:
    place = where % len(row)
    better = torch.tensor([x - 5 * (i == place) for i, x in enumerate(row)])
    worse = better.clone()
    worse[place] -= gain
    assert inverse_perplexity(better) > inverse_perplexity(worse)


@given(rows)
def test_repeating_what_is_likelier_than_the_rest_pays(row: list[float]) -> None:
    """The hack that conf/reward/seed.yaml guards against."""
    once = inverse_perplexity(torch.tensor(row))
    assert inverse_perplexity(torch.tensor([*row, *[max(row)] * 9])) >= once * 0.999


def test_what_is_impossible_earns_nothing_and_rounding_no_more_than_one() -> None:
    assert score([-math.inf, 0.0], [1e-3, 1e-3], []) == [0.0, 1.0, 0.0]


def test_other_tasks_do_not_apply() -> None:
    (value,) = score([-1.0], tasks=("describe",))
    assert math.isnan(value)


def test_without_a_reference_it_does_not_apply() -> None:
    batch = LikelihoodReward(tasks=["caption"]).score([make_rollout(2)] * 3, None)
    assert batch.values.shape == (3, 1)
    assert batch.values.isnan().all()
    assert batch.failed is None or not batch.failed.any()


def test_a_reference_that_breaks_is_a_failure_not_an_exemption() -> None:
    rollouts = [make_rollout(1), make_rollout(1), make_rollout(1, "describe")]
    logprobs = [torch.tensor([x]) for x in (NAN, -1.0, NAN)]
    batch = LikelihoodReward(tasks=["caption"]).score(rollouts, logprobs)
    assert batch.failed is not None
    assert batch.failed[:, 0].tolist() == [True, False, False]


@pytest.mark.parametrize("lengths", [(2, 1), (3,)])
def test_log_probabilities_of_other_captions_are_noticed(lengths: tuple[int, ...]) -> None:
    logprobs = [torch.zeros(length) for length in lengths]
    with pytest.raises((AssertionError, ValueError)):
        LikelihoodReward(tasks=["caption"]).score([make_rollout(2), make_rollout(2)], logprobs)


def test_the_rubric_hands_it_the_references_log_probabilities() -> None:
    rubric = Rubric({"judge": LikelihoodReward(tasks=["caption"])}, {"likelihood": 1.0})
    assert rubric.needs_reference
    rollouts = [make_rollout(1), make_rollout(2)]
    batch = rubric.score(rollouts, [torch.tensor([-1.0]), torch.tensor([-1.0, -3.0])])
    expected = [math.exp(-1), math.exp(-2)]
    assert batch.totals(rubric.weights).tolist() == pytest.approx(expected)
