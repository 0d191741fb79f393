import torch
from torch import nn

from repic.models.engine.logprobs import score


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
