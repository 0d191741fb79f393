import pytest
import torch
from torch import nn

from repic.models.engine.logprobs import draw_jumps, score


def test_portions_of_the_head_change_nothing_and_never_hold_all_logits() -> None:
    torch.manual_seed(0)
    head = nn.Linear(5, 40)
    hidden = torch.randn(23, 5, requires_grad=True)
    completions = [torch.randint(0, 40, (n,)) for n in (1, 9, 6, 7)]
    largest = 0

    def watched(states: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        logits = head(states)
        largest = max(largest, logits.numel())
        return logits

    results = []
    for max_logits in (10**6, 200, 1):
        largest = 0
        scored = score(
            hidden, completions, watched, vocabulary=40, entropy=True, max_logits=max_logits
        )
        weights = torch.linspace(-1, 1, scored.logprobs.numel()).view_as(scored.logprobs)
        gradients = torch.autograd.grad(
            (weights * scored.logprobs).sum(), [hidden, *head.parameters()]
        )
        assert largest <= max(max_logits, 40)
        assert scored.mask.sum(dim=1).tolist() == [1, 9, 6, 7]
        results.append((scored.logprobs, scored.entropy, *gradients))
    for other in results[1:]:
        for have, want in zip(other, results[0], strict=True):
            torch.testing.assert_close(have, want, atol=1e-6, rtol=0)


def test_positions_jump_in_every_second_answer_by_one_to_eight() -> None:
    torch.manual_seed(0)
    drawn = [draw_jumps(50, 0.4) for _ in range(400)]
    jumps = torch.stack([torch.diff(offsets, prepend=torch.zeros(1)) for offsets in drawn])
    assert 0 == jumps.min() < jumps.max() == 8
    still = (jumps == 0).all(1)
    assert 0.45 < still.float().mean() < 0.58  # half, and those of a small share
    # Of the others 20 % of the tokens on average, each share up to 40 % alike often.
    shares = (jumps[~still] > 0).float().mean(1)
    assert 0.17 < shares.mean() < 0.24
    assert (shares > 0.3).any()
    assert (shares < 0.1).any()
    assert jumps[jumps > 0].mean() == pytest.approx(4.5, abs=0.1)
    assert draw_jumps(0, 0.4).tolist() == []
    assert draw_jumps(3, 0.0).tolist() == [0, 0, 0]
