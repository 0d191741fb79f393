"""Every policy loss by hand, and what all of them have to do."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.losses import (
    AGGREGATIONS,
    PolicyLoss,
    cispo_loss,
    grpo_loss,
    gspo_loss,
    reinforce_loss,
    token_weights,
)

CLIP = {"clip_eps_low": 0.2, "clip_eps_high": 0.3}
RATIOS = {
    "grpo": partial(grpo_loss, **CLIP),
    "gspo": partial(gspo_loss, **CLIP),
    "cispo": partial(cispo_loss, **CLIP),
}
LOSSES = {**RATIOS, "reinforce": reinforce_loss}
every = pytest.mark.parametrize("name", LOSSES)
JUNK = [200.0, float("-inf"), float("inf"), float("nan")]


def old_of(name: str, old: torch.Tensor) -> torch.Tensor | None:
    return None if name == "reinforce" else old


def derivative(result: PolicyLoss, logprobs: torch.Tensor) -> list[list[float]]:
    return torch.autograd.grad(result.loss, logprobs)[0].tolist()


def some_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities old and new [6, 5], advantages and a ragged mask."""
    old = -torch.rand(6, 5) * 3
    logprobs = (old + torch.randn(6, 5) * 0.4).requires_grad_()
    mask = torch.arange(5) < torch.tensor([5, 1, 3, 2, 4, 5])[:, None]
    return logprobs, old, torch.randn(6), mask


def one_token(ratio: float, advantage: float) -> tuple[PolicyLoss, float]:
    """Loss of a single token, and the derivative of the loss by its log-probability."""
    logprobs = torch.tensor([[-1.0]], requires_grad=True)
    old = torch.tensor([[-1.0 - math.log(ratio)]])
    result = grpo_loss(logprobs, old, torch.tensor([advantage]), torch.ones(1, 1), **CLIP)
    result.loss.backward()
    return result, logprobs.grad.item()


def test_grpo_by_hand() -> None:
    # Two captions of 2 and 1 tokens, averaged per caption: weights 1/4, 1/4, 1/2.
    # Ratios 1.1, 1.5 with A = 2: gains 2.2 and min(3.0, 1.3 * 2 = 2.6).
    # Ratio 0.5 with A = -1: min(-0.5, -0.8) = -0.8. Objective 2.2/4 + 2.6/4 - 0.8/2 = 0.8.
    old = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]])
    logprobs = old + torch.tensor([[1.1, 1.5], [0.5, 7.0]]).log()
    weights = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
    loss, num_clipped = grpo_loss(logprobs, old, torch.tensor([2.0, -1.0]), weights, **CLIP)
    assert loss.item() == pytest.approx(-0.8)
    assert num_clipped == 2


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "derivative", "clipped"),
    [
        (1.5, 1.0, 1.3, 0.0, True),  # already far enough in the good direction
        (1.5, -1.0, -1.5, -1.5, False),  # on the bad side the gradient must bring it back
        (0.5, 1.0, 0.5, 0.5, False),
        (0.5, -1.0, -0.8, 0.0, True),
        (1.25, 1.0, 1.25, 1.25, False),  # inside: above 1 + low, below 1 + high
        (0.9, -1.0, -0.9, -0.9, False),
    ],
)
def test_grpo_s_clip_stops_the_gradient_on_the_far_side_only(
    ratio: float, advantage: float, gain: float, derivative: float, clipped: bool
) -> None:
    result, gradient = one_token(ratio, advantage)
    assert result.loss.item() == pytest.approx(-gain)
    assert gradient == pytest.approx(-derivative)
    assert result.num_clipped == clipped


def test_gspo_by_hand() -> None:
    # Ratios of the first caption 1.1 and 1.5: their geometric mean is sqrt(1.65) = 1.2845, inside
    # of 1.3; of the second 0.5: clipped to 0.8 with A = -1. Objective 2 * 1.2845 / 2 - 0.8 / 2.
    old = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]])
    logprobs = (old + torch.tensor([[1.1, 1.5], [0.5, 7.0]]).log()).requires_grad_()
    weights = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
    result = gspo_loss(logprobs, old, torch.tensor([2.0, -1.0]), weights, **CLIP)
    ratio = math.sqrt(1.65)
    assert result.loss.item() == pytest.approx(-(ratio - 0.4))
    assert result.num_clipped == 1  # the second caption's only token
    # d ratio / d logprob = ratio / 2 tokens; times A = 2 and the caption's share 1/2.
    assert derivative(result, logprobs) == [[pytest.approx(-ratio / 2)] * 2, [0.0, 0.0]]


def test_gspo_counts_all_tokens_of_a_clipped_caption() -> None:
    old = torch.zeros(1, 4) - 3
    weights = torch.tensor([[0.3, 0.3, 0.3, 0.0]])
    assert gspo_loss(old + 1, old, torch.ones(1), weights, **CLIP).num_clipped == 3


def test_gspo_is_grpo_for_captions_of_one_token() -> None:
    logprobs, old, advantages, _ = some_batch()
    inputs = logprobs[:, :1], old[:, :1], advantages, torch.full((6, 1), 1 / 6)
    one, other = gspo_loss(*inputs, **CLIP), grpo_loss(*inputs, **CLIP)
    torch.testing.assert_close(one.loss, other.loss)
    assert one.num_clipped == other.num_clipped > 0


def test_cispo_by_hand() -> None:
    # Ratios 1.1, 2.0 → 1.3, 0.5 → 0.8; loss = -sum of weight * ratio * A * logprob.
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, 9.0]], requires_grad=True)
    old = logprobs.detach() - torch.tensor([[1.1, 2.0], [0.5, 7.0]]).log()
    weights = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
    result = cispo_loss(logprobs, old, torch.tensor([2.0, -1.0]), weights, **CLIP)
    assert result.loss.item() == pytest.approx(0.25 * 2 * (1.1 + 1.3 * 2) - 0.5 * 0.8 * 3)
    assert result.num_clipped == 2
    expected = [[-0.25 * 1.1 * 2, -0.25 * 1.3 * 2], [0.5 * 0.8, 0.0]]
    assert derivative(result, logprobs) == [pytest.approx(row) for row in expected]


def test_cispo_takes_no_token_s_gradient_away() -> None:
    # A ratio of 3 with A = 1 is where GRPO's clip stops.
    logprobs = torch.tensor([[-1.0]], requires_grad=True)
    inputs = logprobs, logprobs.detach() - math.log(3), torch.ones(1), torch.ones(1, 1)
    assert derivative(grpo_loss(*inputs, **CLIP), logprobs) == [[0.0]]
    assert derivative(cispo_loss(*inputs, **CLIP), logprobs) == [[pytest.approx(-1.3)]]


def test_reinforce_by_hand() -> None:
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, 9.0]], requires_grad=True)
    weights = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
    result = reinforce_loss(logprobs, None, torch.tensor([2.0, -1.0]), weights)
    assert result.loss.item() == pytest.approx(0.25 * 2 * (1 + 2) - 0.5 * 3)
    assert derivative(result, logprobs) == [[-0.5, -0.5], [0.5, 0.0]]
    assert result.num_clipped == 0


def test_reinforce_refuses_a_second_update() -> None:
    ones = torch.ones(1, 1)
    with pytest.raises(ValueError, match="num_updates=1"):
        reinforce_loss(-ones, -ones, torch.ones(1), ones)


@every
@pytest.mark.parametrize("give_old", [True, False])
@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean"])
def test_on_policy_gradient_is_that_of_reinforce(
    name: str, give_old: bool, aggregation: str
) -> None:
    logprobs, _, advantages, mask = some_batch()
    num_tokens = int(mask.sum())
    weights = token_weights(
        mask, aggregation=aggregation, num_sequences=6, num_tokens=num_tokens, max_tokens=5
    )
    old = old_of(name, logprobs.detach()) if give_old else None
    result = LOSSES[name](logprobs, old, advantages, weights)
    (gradient,) = torch.autograd.grad(result.loss, logprobs)
    expected = -(advantages[:, None] * weights)
    if name == "gspo":  # one ratio for a caption: its tokens share their weights
        expected = expected.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True) * mask
    torch.testing.assert_close(gradient, expected)
    if name == "grpo":
        torch.testing.assert_close(result.loss.detach(), -(advantages[:, None] * weights).sum())
    assert result.num_clipped == 0


@every
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_micro_batches_add_up(name: str, aggregation: str, micro_batch: int) -> None:
    logprobs, old, advantages, mask = some_batch()

    def loss_of(rows: slice) -> PolicyLoss:
        weights = token_weights(
            mask[rows],
            aggregation=aggregation,
            num_sequences=len(mask),
            num_tokens=int(mask.sum()),
            max_tokens=8,
        )
        return LOSSES[name](logprobs[rows], old_of(name, old[rows]), advantages[rows], weights)

    whole = loss_of(slice(None))
    parts = [loss_of(slice(i, i + micro_batch)) for i in range(0, 6, micro_batch)]
    total = torch.stack([part.loss for part in parts]).sum()
    torch.testing.assert_close(total, whole.loss)
    torch.testing.assert_close(
        torch.autograd.grad(total, logprobs, retain_graph=True)[0],
        torch.autograd.grad(whole.loss, logprobs)[0],
    )
    assert sum(part.num_clipped for part in parts) == whole.num_clipped
    assert (whole.num_clipped > 0) == (name != "reinforce")


@every
@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("on_policy", [True, False])
def test_masked_tokens_reach_neither_loss_nor_gradient(
    name: str, junk: float, on_policy: bool
) -> None:
    # The second caption is masked as a whole, as a truncated one may be.
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    logprobs = torch.tensor([[-1.0, -2.0, junk], [junk] * 3], requires_grad=True)
    clean = torch.tensor([[-1.0, -2.0, -1.0], [-1.0] * 3], requires_grad=True)
    old = torch.tensor([[-1.1, -2.2, junk], [junk] * 3])
    advantages = torch.tensor([1.5, -1.0])
    results = [
        LOSSES[name](values, None if on_policy else old_of(name, old), advantages, weights)
        for values in (logprobs, clean)
    ]
    assert results[0] == results[1]
    gradients = [derivative(r, v) for r, v in zip(results, (logprobs, clean), strict=True)]
    assert gradients[0] == gradients[1]
    assert gradients[0][0][2] == 0
    assert gradients[0][1] == [0, 0, 0]
    assert gradients[0][0][0] != 0


@pytest.mark.parametrize("name", RATIOS)
@pytest.mark.parametrize("gap", [-200.0, 200.0])
def test_a_stray_token_cannot_make_the_loss_infinite(name: str, gap: float) -> None:
    logprobs = torch.tensor([[-1.0]], requires_grad=True)
    result = RATIOS[name](logprobs, logprobs.detach() + gap, -torch.ones(1), torch.ones(1, 1))
    result.loss.backward()
    assert result.loss.isfinite()
    assert logprobs.grad is not None
    assert logprobs.grad.isfinite().all()


@every
def test_inputs_are_not_modified(name: str) -> None:
    logprobs, old, advantages, mask = some_batch()
    inputs = [logprobs, old_of(name, old), advantages, mask.float()]
    before = [None if x is None else x.detach().clone() for x in inputs]
    LOSSES[name](*inputs)
    for value, copy in zip(inputs, before, strict=True):
        if value is not None:
            torch.testing.assert_close(value.detach(), copy)


MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])
SIZES = {"num_sequences": 2, "num_tokens": 4, "max_tokens": 8}


@pytest.mark.parametrize(
    ("aggregation", "long", "short"),
    [
        ("sequence_mean", 1 / 6, 1 / 2),  # a half for each caption, shared by its tokens
        ("token_mean", 1 / 4, 1 / 4),
        ("constant", 1 / 16, 1 / 16),
    ],
)
def test_token_weights_by_hand(aggregation: str, long: float, short: float) -> None:
    expected = torch.tensor([[long, long, long, 0], [short, 0, 0, 0]])
    torch.testing.assert_close(token_weights(MASK, aggregation=aggregation, **SIZES), expected)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_micro_batches_have_the_weights_of_the_whole(aggregation: str, rows: list) -> None:
    mask = torch.tensor(rows)
    tokens = max(1, int(mask.sum()))
    sizes = {"num_sequences": len(rows), "num_tokens": tokens, "max_tokens": 5}
    whole = token_weights(mask, aggregation=aggregation, **sizes)
    parts = [token_weights(row[None], aggregation=aggregation, **sizes) for row in mask]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert whole[~mask].eq(0).all()
    assert whole[mask].gt(0).all()
    assert whole.isfinite().all()
    assert whole.sum() <= 1 + 1e-6


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean"])
def test_weights_of_a_whole_batch_sum_to_one(aggregation: str) -> None:
    assert token_weights(MASK, aggregation=aggregation, **SIZES).sum().item() == pytest.approx(1)


def test_unknown_aggregation_is_named() -> None:
    with pytest.raises(ValueError, match="'mean' is not one of sequence_mean, token_mean"):
        token_weights(MASK, aggregation="mean", **SIZES)
