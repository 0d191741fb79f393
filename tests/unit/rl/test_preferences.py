import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.preferences import preference_loss, preference_margin

logprob = st.floats(-50, 0)


def test_by_hand() -> None:
    """The better answer has become three times as likely, the worse one half as likely."""
    policy = torch.tensor([[0.3, 0.1]]).log()
    reference = torch.tensor([[0.1, 0.2]]).log()
    margin = preference_margin(policy, reference, beta=0.5)
    assert margin.item() == pytest.approx(0.5 * math.log(6))
    # Chosen with probability sqrt(6) / (1 + sqrt(6)).
    odds = math.sqrt(6)
    assert preference_loss(margin).item() == pytest.approx(-math.log(odds / (1 + odds)))


@given(logprob, logprob, st.floats(0.01, 10))
def test_nothing_is_gained_at_first(better: float, worse: float, beta: float) -> None:
    both = torch.tensor([[better, worse]])
    margin = preference_margin(both, both, beta=beta)
    assert margin.item() == 0
    assert preference_loss(margin).item() == pytest.approx(math.log(2))


@given(logprob, logprob, logprob, logprob)
def test_the_loss_pushes_the_answers_apart(a: float, b: float, c: float, d: float) -> None:
    policy = torch.tensor([[a, b]], requires_grad=True)
    preference_loss(preference_margin(policy, torch.tensor([[c, d]]), beta=0.1)).sum().backward()
    assert policy.grad is not None
    up, down = policy.grad[0].tolist()
    assert up <= 0 <= down
    assert up == pytest.approx(-down)
