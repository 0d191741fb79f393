"""Every file of conf/advantage, conf/loss and conf/kl can be instantiated and used as it stands."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from repic.rl.aggregation import AGGREGATIONS
from repic.rl.kl import ESTIMATORS

CONF = Path(__file__).parents[3] / "conf"


def load(group: str, option: str):
    return instantiate(OmegaConf.load(CONF / group / f"{option}.yaml"))


@pytest.mark.parametrize("path", sorted((CONF / "advantage").glob("*.yaml")), ids=lambda p: p.stem)
def test_advantages(path: Path) -> None:
    advantages = load("advantage", path.stem)(torch.tensor([[[0.0], [2.0]]]), torch.ones(1))
    expected = {"grpo": 1.0, "dr_grpo": 1.0, "rloo": 2.0}[path.stem]
    torch.testing.assert_close(advantages, torch.tensor([[-expected, expected]]), atol=1e-3, rtol=0)


def test_loss() -> None:
    loss = load("loss", "grpo")
    assert loss.aggregation in AGGREGATIONS
    ones = torch.ones(1, 1)
    assert loss.objective(-ones, -2 * ones, torch.ones(1), ones).loss.item() == pytest.approx(-1.2)


@pytest.mark.parametrize(
    ("option", "coef"), [("none", 0.0), ("low", 0.01), ("default", 0.04), ("high", 0.2)]
)
def test_kl(option: str, coef: float) -> None:
    kl = load("kl", option)
    assert kl.coef == coef
    assert kl.estimator in ESTIMATORS
