"""Updates that are run without numbers: what they take is what a device would see."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from repic.bench.full import full_size
from repic.bench.held import HeldMemory
from repic.models.memory import Training
from tests.counting import PAPER


def test_what_is_held_worked_by_hand() -> None:
    weight = nn.Parameter(torch.empty(10, 10, device="meta"))
    held = HeldMemory([weight])
    held.hold("weights", [weight])
    assert held.now == {"weights": 400}
    with held, held.counting("activations"):
        x = torch.empty(5, 10, device="meta")  # 200 bytes
        y = x @ weight  # 200
        y[0].view(2, 5)  # no storage of its own
        assert held.now == {"weights": 400, "activations": 400}
        z = (y * y).sum()  # 200 that are gone at once, and 4
        assert held.now["activations"] == 404
        assert held.peak == {"weights": 400, "activations": 604}
        held.restart()
        z.backward()
        del x, y, z
    assert +held.now == Counter(weights=400, gradients=400)
    assert held.peak.total() > 1208


def test_checkpointing_is_seen_to_save() -> None:
    def peak(is_checkpointed: bool) -> int:
        layers = [nn.Sequential(nn.Linear(8, 64, device="meta"), nn.GELU()) for _ in range(6)]
        for layer in layers:
            layer.append(nn.Linear(64, 8, device="meta"))
        held = HeldMemory()
        with held:
            x = torch.empty(100, 8, device="meta", requires_grad=True)
            for layer in layers:
                x = checkpoint(layer, x, use_reentrant=False) if is_checkpointed else layer(x)
            x.sum().backward()
        return held.peak.total()

    assert peak(is_checkpointed=True) < 0.4 * peak(is_checkpointed=False)


def test_what_the_bench_says_of_a_model(tmp_path: Path, qwen: Path) -> None:
    settings: dict[str, Any] = {
        "full": {"pixels": 56, "text_tokens": 30, "device_gib": 1},
        "model": {
            "path": str(qwen),
            "dtype": "float32",
            "lora": None,
            "gradient_checkpointing": False,
        },
        "paper": PAPER,
        "phase": {"grpo": {"micro_batch_tokens": 99}},
        **{"references": 3, "prompts": 1, "group_size": 2, "caption_tokens": 5},
        "kl": {"coef": 0.0},
    }
    policy, plan = full_size(settings, "my_own")
    assert policy.network.get_input_embeddings().num_embeddings == 345
    assert plan.prompt_tokens == 30 + 4 * 16  # of 14 pixels a side
    assert plan.training == Training(None, False, False, 4)
    settings["model"]["path"] = "hub/id"
    with pytest.raises(ValueError, match="model=my_own: bench=full knows the dimensions of qwen2_"):
        full_size(settings, "my_own")
