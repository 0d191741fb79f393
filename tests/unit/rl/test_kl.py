import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.kl import ESTIMATORS, k3_kl, kl_penalty

every = pytest.mark.parametrize("estimator", ESTIMATORS)
logprob = st.floats(-30, 0)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    # The reference finds the token half as likely: r = 1/2.
    [
        ("k1", math.log(2)),
        ("k2", math.log(2) ** 2 / 2),
        ("k3", 0.5 - 1 + math.log(2)),
        ("k3+", 0.5 - 1 + math.log(2)),
    ],
)
def test_by_hand(estimator: str, expected: float) -> None:
    logprobs = torch.tensor([[math.log(0.4), -9.0]])
    ref_logprobs = torch.tensor([[math.log(0.2), -1.0]])
    result = kl_penalty(logprobs, ref_logprobs, torch.tensor([[3.0, 0.0]]), estimator=estimator)
    assert result.penalty.item() == pytest.approx(3 * expected)
    assert result.token_sum.item() == pytest.approx(expected)


@every
@given(logprob)
def test_zero_where_policy_and_reference_agree(estimator: str, value: float) -> None:
    logprobs = torch.tensor([[value]])
    assert kl_penalty(logprobs, logprobs, torch.ones(1, 1), estimator=estimator).penalty == 0


@given(logprob, logprob)
def test_k3_is_never_negative(a: float, b: float) -> None:
    assert k3_kl(torch.tensor([[a]]), torch.tensor([[b]])).item() >= 0


@pytest.mark.parametrize("estimator", ["k1", "k3", "k3+"])
def test_unbiased(estimator: str) -> None:
    """The mean over the policy's own tokens is the KL, in full over a vocabulary of 50."""
    logprobs = torch.randn(50).double().log_softmax(0)
    ref_logprobs = torch.randn(50).double().log_softmax(0)
    kl = (logprobs.exp() * (logprobs - ref_logprobs)).sum()
    weights = logprobs.exp()[None]
    result = kl_penalty(logprobs[None], ref_logprobs[None], weights, estimator=estimator)
    torch.testing.assert_close(result.penalty, kl)


@pytest.mark.parametrize("estimator", ["k2", "k3+"])
def test_the_gradient_is_that_of_the_kl(estimator: str) -> None:
    logits = torch.randn(50).double().requires_grad_()
    logprobs = logits.log_softmax(0)
    ref_logprobs = torch.randn(50).double().log_softmax(0)
    weights = logprobs.exp().detach()[None]  # tokens as the policy samples them
    penalty = kl_penalty(logprobs[None], ref_logprobs[None], weights, estimator=estimator).penalty
    kl = (logprobs.exp() * (logprobs - ref_logprobs)).sum()
    torch.testing.assert_close(
        torch.autograd.grad(penalty, logits, retain_graph=True), torch.autograd.grad(kl, logits)
    )


@every
@pytest.mark.parametrize("junk", [200.0, float("-inf"), float("inf"), float("nan")])
def test_masked_tokens_reach_neither_penalty_nor_gradient(estimator: str, junk: float) -> None:
    weights = torch.tensor([[1.0, 0.0]])
    logprobs = torch.tensor([[-1.0, junk]], requires_grad=True)
    result = kl_penalty(logprobs, torch.tensor([[-2.0, -1.0]]), weights, estimator=estimator)
    result.penalty.backward()
    alone = kl_penalty(
        torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), torch.ones(1, 1), estimator=estimator
    )
    assert result == alone
    assert logprobs.grad[0, 0].abs() > 0
    assert logprobs.grad[0, 1] == 0


def test_k3_does_not_overflow() -> None:
    logprobs = torch.tensor([[-200.0]], requires_grad=True)
    penalty = kl_penalty(logprobs, torch.zeros(1, 1), torch.ones(1, 1), estimator="k3").penalty
    penalty.backward()
    assert penalty.item() == pytest.approx(math.exp(10) - 11, rel=1e-5)
    assert logprobs.grad.isfinite().all()


def test_k3_straight_through_pulls_back_from_beyond_the_clamp() -> None:
    logprobs = torch.tensor([[-15.0]], requires_grad=True)
    for estimator, slope in (("k3", 0.0), ("k3+", -15.0)):
        penalty = kl_penalty(logprobs, torch.zeros(1, 1), torch.ones(1, 1), estimator=estimator)
        assert torch.autograd.grad(penalty.penalty, logprobs)[0].item() == slope


def test_k3_keeps_its_digits_near_equality() -> None:
    # x²/2 for small x; exp(x) - 1 - x in float32 would give 0 or 1e-7.
    value = k3_kl(torch.tensor([[1e-3]]), torch.zeros(1, 1)).item()
    assert value == pytest.approx(5e-7, rel=1e-3)


def test_what_is_logged_has_no_gradient() -> None:
    logprobs = torch.zeros(1, 1, requires_grad=True)
    result = kl_penalty(logprobs, torch.ones(1, 1), torch.ones(1, 1), estimator="k3")
    assert result.penalty.requires_grad
    assert not result.token_sum.requires_grad


def test_inputs_are_not_modified() -> None:
    inputs = [torch.randn(2, 3), torch.randn(2, 3), torch.tensor([[1.0, 1, 0], [1, 0, 0]])]
    before = [x.clone() for x in inputs]
    kl_penalty(*inputs, estimator="k3")
    for value, copy in zip(inputs, before, strict=True):
        torch.testing.assert_close(value, copy)


def test_unknown_estimator_is_named() -> None:
    with pytest.raises(ValueError, match=r"'k4' is not one of k1, k2, k3, k3\+"):
        kl_penalty(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1), estimator="k4")
