"""What algorithms learn where components differ in scale and noise: a bandit of three switches.

A rollout is three tokens, each a switch that is on or off; component k pays ``SCALES[k]`` for
switch k, plus noise. Every token gets the advantage of the whole rollout, as in a caption.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from repic.rl.advantages import Advantages, gdpo_advantages, group_advantages
from repic.rl.losses import grpo_loss, token_weights

SCALES = torch.tensor([10.0, 1.0, 0.1])
NOISE = torch.tensor([2.0, 0.5, 0.02])  # std; 20 %, 50 % and 20 % of the signal
PROMPTS, GROUP, STEPS = 8, 8, 60

grpo = partial(group_advantages, normalize_std=True, eps=1e-4)
gdpo = partial(gdpo_advantages, is_whitened=True, min_std=0.0, eps=1e-4)
c_gdpo = partial(gdpo_advantages, is_whitened=False, min_std=0.0, eps=1e-4)
floored = partial(gdpo_advantages, is_whitened=True, min_std=1.0, eps=1e-4)

Function = Callable[[Tensor, Tensor], Advantages]


def learn(advantages: Function, seed: int) -> Tensor:
    """Probability of each switch to be on, after some steps from a half."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=0.5)
    mask = torch.ones(PROMPTS * GROUP, 3, dtype=torch.bool)
    sizes = {"num_sequences": len(mask), "num_tokens": 3 * len(mask), "max_tokens": 3}
    weights = token_weights(mask, aggregation="token_mean", **sizes)
    for _ in range(STEPS):
        is_on = torch.rand(len(mask), 3, generator=generator) < logits.detach().sigmoid()
        noise = NOISE * torch.randn(len(mask), 3, generator=generator)
        rewards = (SCALES * is_on + noise).view(PROMPTS, GROUP, 3)
        logprobs = torch.where(is_on, logits, -logits).sigmoid().log()
        credit = advantages(rewards, torch.ones(3)).values.flatten()
        loss = grpo_loss(logprobs, None, credit, weights, clip_eps_low=0.2, clip_eps_high=0.2).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.detach().sigmoid()


@pytest.fixture(scope="module")
def learned() -> dict[str, Tensor]:
    """Mean over three seeds, from which single ones differ by less than 0.05."""
    algorithms = {"grpo": grpo, "gdpo": gdpo, "c_gdpo": c_gdpo, "floored": floored}
    return {
        name: torch.stack([learn(advantages, seed) for seed in range(3)]).mean(dim=0)
        for name, advantages in algorithms.items()
    }


def test_grpo_follows_the_largest_scale(learned: dict[str, Tensor]) -> None:
    large, middle, small = learned["grpo"].tolist()
    assert large > 0.9
    assert 0.6 < middle < 0.7
    assert abs(small - 0.5) < 0.1  # nothing: a hundredth of the sum is lost in its noise


@pytest.mark.parametrize("name", ["gdpo", "c_gdpo"])
def test_gdpo_balances(learned: dict[str, Tensor], name: str) -> None:
    large, middle, small = learned[name].tolist()
    assert min(large, middle, small) > 0.8
    assert abs(large - small) < 0.03  # a hundred times smaller, and equally noisy
    assert middle < min(large, small) - 0.02  # what is noisier is learned more slowly


def test_whitening_keeps_the_step_s_size(learned: dict[str, Tensor]) -> None:
    # Three components of std 1 add up to sqrt(3): without whitening the steps are that much larger.
    assert (learned["c_gdpo"] > learned["gdpo"] + 0.04).all()


def test_a_floor_ignores_what_stays_below_it(learned: dict[str, Tensor]) -> None:
    large, middle, small = learned["floored"].tolist()
    assert large > 0.9
    assert middle > 0.8
    assert abs(small - 0.5) < 0.1
