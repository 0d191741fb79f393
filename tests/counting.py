"""What the tests of costs share: the real models' dimensions, and torch's counter of FLOPs."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

_BENCH: Any = OmegaConf.to_container(
    OmegaConf.load(Path(__file__).parents[1] / "repic/conf/bench/paper.yaml")
)
PAPER = _BENCH["paper"]
LORA = {"r": 4, "alpha": 8, "dropout": 0.0}


def count(compute: Callable[[], object]) -> int:
    """Count FLOPs. The counter knows no masks: it sees every pair of a rectangle."""
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


def small(name: str, **text: Any) -> dict[str, Any]:
    """The dimensions of one of the papers' models, with few layers and a narrow tower."""
    dimensions = deepcopy(PAPER["models"][name])
    dimensions["text_config"] |= {"num_hidden_layers": 2, **text}
    layers = {"qwen2_5_vl": {"depth": 2}, "llava": {"num_hidden_layers": 2}}
    dimensions["vision_config"] |= layers[dimensions["model_type"]]
    return dimensions
