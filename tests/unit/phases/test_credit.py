"""Credit by hand."""

from functools import partial

import pytest
import torch

from repic import distributed
from repic.phases.credit import Credit, rollout_kl
from repic.rewards.rubric import Rubric
from repic.rl.advantages import gdpo_advantages
from repic.types import Example, Rollout
from tests.modules import examples

GDPO = partial(gdpo_advantages, is_whitened=True, min_std=0.0, eps=1e-4)


def test_the_kl_of_a_rollout_by_hand() -> None:
    def rollout(*logprobs: float) -> Rollout:
        ids = torch.zeros(len(logprobs), dtype=torch.long)
        return Rollout(examples()[0], "", ids, torch.tensor(logprobs), True)

    rollouts = [rollout(-1.0, -2.0), rollout(-3.0)]
    reference = [torch.tensor([-1.5, -2.25]), torch.tensor([-2.0])]
    found = rollout_kl(rollouts, reference, estimator="k1")
    assert found.tolist() == pytest.approx([0.75, -1.0])


def test_the_kl_is_one_more_component() -> None:
    credit = Credit(("a",), torch.tensor([[[1.0], [2.0]]]), torch.tensor([2.0]))
    with_kl = credit.with_kl(torch.tensor([0.5, 0.25]), coef=0.1)
    assert with_kl.names == ("a", "kl")
    assert with_kl.rewards.tolist() == [[[1.0, 0.5], [2.0, 0.25]]]
    assert with_kl.weights.tolist() == pytest.approx([2.0, -0.1])


def test_batch_statistics_are_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rewards = torch.rand(6, 4, 2, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([1.0, 0.5])
    whole = GDPO(rewards, weights)
    kl = torch.arange(24.0)
    alone = credit_of(rewards, weights).with_kl(kl, coef=0.1)
    others = {(3, 4, 2): list(rewards), (3, 4, 1): list(kl.view(6, 4, 1))}
    monkeypatch.setattr(
        distributed, "gather", lambda mine: others[len(mine), *mine[0].shape]
    )  # of two ranks
    for rank in range(2):
        credit = credit_of(rewards[rank::2], weights)
        everyone = credit.advantages(GDPO)
        torch.testing.assert_close(everyone.values, whole.values)
        torch.testing.assert_close(everyone.components, whole.components)
        mine = kl.view(6, 4)[rank::2].flatten()
        assert torch.equal(credit.with_kl(mine, coef=0.1).rewards, alone.rewards)


def credit_of(rewards: torch.Tensor, weights: torch.Tensor) -> Credit:
    rubric = Rubric({"two": Two()}, {"a": weights[0].item(), "b": weights[1].item()})
    return Credit.under_conditions(rubric, rewards)


class Two:
    components = ("a", "b")

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        raise NotImplementedError
