import math

import pytest
import torch

from repic.rl.aggregation import AGGREGATIONS, token_weights
from repic.rl.losses import PolicyLoss, grpo_loss

CLIP = {"clip_eps_low": 0.2, "clip_eps_high": 0.3}


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


def test_by_hand() -> None:
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
def test_clip_stops_the_gradient_on_the_far_side_only(
    ratio: float, advantage: float, gain: float, derivative: float, clipped: bool
) -> None:
    result, gradient = one_token(ratio, advantage)
    assert result.loss.item() == pytest.approx(-gain)
    assert gradient == pytest.approx(-derivative)
    assert result.num_clipped == clipped


@pytest.mark.parametrize("give_old", [True, False])
def test_on_policy_gradient_is_that_of_reinforce(give_old: bool) -> None:
    logprobs, _, advantages, mask = some_batch()
    weights = token_weights(
        mask, aggregation="token_mean", num_sequences=6, num_tokens=int(mask.sum()), max_tokens=5
    )
    old = logprobs.detach() if give_old else None
    loss, num_clipped = grpo_loss(logprobs, old, advantages, weights, **CLIP)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    reinforce = -(logprobs * advantages[:, None])[mask].sum() / mask.sum()
    (expected,) = torch.autograd.grad(reinforce, logprobs)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(loss.detach(), -(advantages[:, None] * weights).sum())
    assert num_clipped == 0


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_micro_batches_add_up(aggregation: str, micro_batch: int) -> None:
    logprobs, old, advantages, mask = some_batch()

    def loss_of(rows: slice) -> PolicyLoss:
        weights = token_weights(
            mask[rows],
            aggregation=aggregation,
            num_sequences=len(mask),
            num_tokens=int(mask.sum()),
            max_tokens=8,
        )
        return grpo_loss(logprobs[rows], old[rows], advantages[rows], weights, **CLIP)

    whole = loss_of(slice(None))
    parts = [loss_of(slice(i, i + micro_batch)) for i in range(0, 6, micro_batch)]
    total = torch.stack([part.loss for part in parts]).sum()
    torch.testing.assert_close(total, whole.loss)
    torch.testing.assert_close(
        torch.autograd.grad(total, logprobs, retain_graph=True)[0],
        torch.autograd.grad(whole.loss, logprobs)[0],
    )
    assert sum(part.num_clipped for part in parts) == whole.num_clipped > 0


@pytest.mark.parametrize("junk", [200.0, float("-inf"), float("inf"), float("nan")])
@pytest.mark.parametrize("on_policy", [True, False])
def test_masked_tokens_reach_neither_loss_nor_gradient(junk: float, on_policy: bool) -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0]])
    logprobs = torch.tensor([[-1.0, -2.0, junk]], requires_grad=True)
    clean = torch.tensor([[-1.0, -2.0, -1.0]], requires_grad=True)
    old = None if on_policy else torch.tensor([[-1.1, -2.2, junk]])
    advantages = torch.tensor([1.5])
    for values in (logprobs, clean):
        grpo_loss(values, old, advantages, weights, **CLIP).loss.backward()
    assert logprobs.grad.tolist() == clean.grad.tolist()
    assert logprobs.grad[0, 2] == 0
    result = grpo_loss(logprobs, old, advantages, weights, **CLIP)
    assert result == grpo_loss(clean, old, advantages, weights, **CLIP)


def test_a_stray_token_cannot_make_the_loss_infinite() -> None:
    logprobs = torch.tensor([[-1.0]], requires_grad=True)
    result = grpo_loss(
        logprobs, torch.tensor([[-200.0]]), torch.tensor([-1.0]), torch.ones(1, 1), **CLIP
    )
    result.loss.backward()
    assert result.loss.isfinite()
    assert logprobs.grad.isfinite().all()


def test_old_logprobs_get_no_gradient_on_policy() -> None:
    logprobs, _, advantages, mask = some_batch()
    loss = grpo_loss(logprobs, None, advantages, mask.float(), **CLIP).loss
    assert torch.autograd.grad(loss, logprobs)[0].abs().sum() > 0


def test_inputs_are_not_modified() -> None:
    logprobs, old, advantages, mask = some_batch()
    inputs = [logprobs, old, advantages, mask.float()]
    before = [x.detach().clone() for x in inputs]
    grpo_loss(*inputs, **CLIP)
    for value, copy in zip(inputs, before, strict=True):
        torch.testing.assert_close(value.detach(), copy)
