"""Every file of conf/advantage, conf/loss and conf/kl can be instantiated and used as it stands."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from repic.rl.kl import ESTIMATORS
from repic.rl.losses import AGGREGATIONS

CONF = Path(__file__).parents[3] / "repic/conf"


@cache
def load(group: str, option: str):
    with initialize_config_module("repic.conf", version_base="1.3"):
        return instantiate(compose(f"{group}/{option}")[group])


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("option", options("advantage"))
def test_advantages(option: str) -> None:
    # Two groups: (0, 2) and (0, 0) of the first component, nothing else.
    advantages = load("advantage", option)
    got = advantages(torch.tensor([[[0.0], [2.0]], [[0.0], [0.0]]]), torch.ones(1)).values
    half, root = 0.5**0.5, 2**0.5
    expected = {
        "grpo": [[-1.0, 1.0], [0.0, 0.0]],
        "dr_grpo": [[-1.0, 1.0], [0.0, 0.0]],
        "rloo": [[-2.0, 2.0], [0.0, 0.0]],
        # of the batch: mean 0.5, variance 3/4
        "reinforce_pp": [[-(3**-0.5), 3**0.5], [-(3**-0.5), -(3**-0.5)]],
        "reinforce_pp_baseline": [[-root, root], [0.0, 0.0]],  # divided by sqrt(2/4)
        "gdpo": [[-1 / half, 1 / half], [0.0, 0.0]],
        "c_gdpo": [[-1.0, 1.0], [0.0, 0.0]],
    }[option]
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-3, rtol=0)


@pytest.mark.parametrize("option", options("loss"))
def test_losses(option: str) -> None:
    # One token whose ratio is e^10 and one whose ratio is 1, both with advantage 1.
    loss = load("loss", option)
    assert loss.aggregation in AGGREGATIONS
    old = None if option == "reinforce" else torch.tensor([[-11.0], [-1.0]])
    ones = torch.ones(2, 1)
    found = loss.objective(-ones, old, torch.ones(2), ones).loss.item()
    expected = {
        "grpo": -2.2,
        "dr_grpo": -2.2,
        "dapo": -2.28,
        "gspo": -2.0004,
        "cispo": 5.0 + 1.0,
        "reinforce": 1.0 + 1.0,
    }[option]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("option", "coef"), [("none", 0.0), ("low", 0.01), ("default", 0.04), ("high", 0.2)]
)
def test_kl(option: str, coef: float) -> None:
    assert load("kl", option).coef == coef


@pytest.mark.parametrize("option", options("kl"))
def test_every_kl_has_an_estimator(option: str) -> None:
    assert load("kl", option).estimator in ESTIMATORS
