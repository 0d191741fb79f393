"""What the tests of costs share: the real models' dimensions, and torch's counter of FLOPs."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from repic.models.costs.table import make_config
from repic.models.policy import Policy
from tests import tiny

_BENCH: Any = OmegaConf.to_container(
    OmegaConf.load(Path(__file__).parents[1] / "repic/conf/bench/paper.yaml")
)
PAPER = _BENCH["paper"]
CONFIGS = {name: make_config(dimensions) for name, dimensions in PAPER["models"].items()}
LORA = {"r": 4, "alpha": 8, "dropout": 0.0}


def count(compute: Callable[[], object]) -> int:
    """Count FLOPs. The counter knows no masks: it sees every pair of a rectangle."""
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


def load(directory: Path, **changes: object) -> tuple[Policy, Any]:
    """Load a policy with eager attention, and a configuration for what it computes."""
    policy = tiny.load(directory, attention="eager", **changes)
    config = deepcopy(policy.network.config)
    if config.model_type == "llava":
        config.vision_feature_layer = -1  # the library runs the last layer, used or not
    return policy, config
