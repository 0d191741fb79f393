"""Updates that are run without numbers: what they take is what a device would see."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from repic.bench.full import full_size, full_table, sized_policy
from repic.bench.held import HeldMemory
from repic.bench.paper import model_config
from repic.models.costs import PACKED, ModelCosts
from repic.models.memory import StepPlan, Training, training_of
from tests import tiny
from tests.counting import PAPER, small


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


def counted(
    name: str, layers: int, is_checkpointed: bool
) -> tuple[dict[Any, Any], dict[Any, Any], ModelCosts, tuple[int, int]]:
    """Count an update; return what was seen, what arithmetic says, and pairs: masked, and not."""
    policy = sized_policy(
        model_config(small(name, num_hidden_layers=layers)),
        pixels=112,
        pictures=2,
        text_tokens=300,
        dtype=torch.bfloat16,
        lora={"r": 64, "alpha": 64, "dropout": 0.05},
        gradient_checkpointing=is_checkpointed,
    )
    plan = StepPlan(
        prompts=2,
        group_size=4,
        prompt_tokens=300 + 2 * {"qwen2_5_vl_7b": 16, "llava_1_5_7b": 576}[name],
        caption_tokens=32,
        micro_batch_tokens=10**6,
        training=training_of(policy, has_reference=True),
        scheme=PACKED,
    )
    rows = full_table(policy, plan, tiny.packed_engine)
    seen, paper = ({r["part"]: r[kind] for r in rows} for kind in ("counted", "arithmetic"))
    prompt, fed = plan.prompt_tokens, 4 * 31
    rectangles = 2 * (prompt**2 + fed * prompt + 4 * 31**2)
    hidden = rectangles - plan.micro_batch.pairs
    return seen, paper, ModelCosts(policy.network, policy.family), (hidden, plan.micro_batch.pairs)


@pytest.mark.parametrize(
    ("name", "is_checkpointed"), [("qwen2_5_vl_7b", True), ("llava_1_5_7b", False)]
)
def test_a_layer_more_takes_what_arithmetic_says(name: str, is_checkpointed: bool) -> None:
    (seen, paper, costs, (hidden, pairs)), (more, paper_more, costs_more, _) = (
        counted(name, layers, is_checkpointed) for layers in (2, 3)
    )

    def difference(part: str) -> tuple[float, float]:
        return more[part] - seen[part], paper_more[part] - paper[part]

    found, expected = difference("· weights")
    assert found == pytest.approx(expected, rel=1e-6)
    assert seen["· weights"] == pytest.approx(paper["· weights"], rel=1e-4)  # and buffers
    assert seen["· Adam's moments"] == pytest.approx(paper["· Adam's moments"], rel=1e-4)
    # At the end of the forward, which is the peak here, as the head is large beside two layers.
    found, expected = difference("· activations and logits")
    assert found == pytest.approx(expected, rel=1e-6)
    # The counter knows no masks, and sees in the backward what flash attention computes again.
    pair = costs_more.forward.pair - costs.forward.pair
    found, expected = difference("reference TFLOP")
    assert found == pytest.approx(expected + pair * hidden / 1e12, rel=1e-6)
    found, expected = difference("update TFLOP")
    again = 0.5 * (hidden + pairs) + is_checkpointed * hidden
    assert found == pytest.approx(
        expected + pair * (3 * hidden + again) / 1e12, rel=1e-3 if is_checkpointed else 1e-6
    )


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
