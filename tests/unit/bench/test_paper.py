"""The papers' settings, as conf/bench/paper.yaml has them; and a step's memory."""

from pathlib import Path
from typing import Any

import pytest
import torch

from repic.bench.paper import as_markdown, make_config, paper_table, step_memory
from repic.models.costs import PACKED, PLAIN, SCHEMES, MeasuredModel, Workload
from tests import tiny
from tests.counting import LORA, PAPER, small

WORK = Workload(prompts=4, group_size=3, prompt_tokens=20, caption_tokens=6, vision_flops=0)
TRAINING: dict[str, Any] = {
    "lora_rank": None,
    "has_reference": True,
    "is_checkpointed": False,
    "micro_batch": 2,
    "weight_bytes": 2,
}


def test_the_papers_settings_make_a_table() -> None:
    rows = paper_table({name: small(name) for name in PAPER["models"]}, PAPER["settings"])
    assert len(rows) == len(PAPER["settings"]) * len(SCHEMES)
    lines = as_markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    for row in rows:
        assert row["model TFLOP"] == pytest.approx(
            sum(row[key] for key in ("vision", "prefill", "decode", "reference", "update"))
        )


@pytest.mark.slow
def test_the_real_models() -> None:
    sizes = {"qwen2_5_vl_3b": 3_754_622_976, "qwen2_5_vl_7b": 8_292_166_656}
    sizes["llava_1_5_7b"] = 7_063_427_072
    for name, size in sizes.items():
        config = make_config(PAPER["models"][name])
        assert MeasuredModel(config, lora_rank=8, dtype=torch.bfloat16).parameters == size
    row = paper_table(PAPER["models"], PAPER["settings"][:1])[2]
    expected = {"k tokens": 18.2, "vision": 9.19, "prefill": 27.2, "decode": 60.9}
    expected |= {"reference": 86.1, "update": 180, "recomputed": 83.6, "weights": 16.0}
    expected |= {"KV cache": 0.325, "activations": 1.6, "unchecked": 28.8, "peak GiB": 20.6}
    assert {key: row[key] for key in expected} == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("lora", [None, LORA])
def test_weights_gradients_and_moments(tmp_path: Path, lora: dict | None) -> None:
    policy = tiny.load(tiny.build_llava(tmp_path), dtype="bfloat16", lora=lora)
    trained = policy.trainable_parameters()
    optimizer = torch.optim.Adam(trained)
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    rank = lora and lora["r"]
    model = MeasuredModel(policy.network.config, lora_rank=rank, dtype=torch.bfloat16)
    memory = step_memory(model, WORK, {**TRAINING, "lora_rank": rank}, PLAIN)
    size = sum(weight.nbytes for weight in trained)
    states = [state for values in optimizer.state.values() for state in values.values()]
    moments = sum(state.nbytes for state in states if state.ndim)
    assert memory["gradients, Adam"] == size + moments
    weights = sum(weight.nbytes for weight in policy.model.parameters())
    assert memory["weights"] == weights + (0 if lora else size)  # and the reference


def test_memory_worked_by_hand() -> None:
    text = dict(vocab_size=99, hidden_size=48, intermediate_size=80, num_attention_heads=4)
    text |= dict(head_dim=16, num_key_value_heads=2, bos_token_id=0, eos_token_id=1)
    config = make_config(small("llava_1_5_7b", **text))
    model = MeasuredModel(config, lora_rank=None, dtype=torch.bfloat16)
    memory = step_memory(model, WORK, TRAINING, PLAIN)
    assert memory["logits"] == 4 * 2 * (3 * 6) * 99  # bytes, groups, places, vocabulary
    assert memory["all logits"] == 4 * 2 * (3 * 25) * 99
    # Bytes, layers, keys and values, captions, tokens, values.
    assert memory["KV cache"] == 2 * 2 * 2 * 12 * 25 * 32
    packed = step_memory(model, WORK, TRAINING, PACKED)
    assert packed["KV cache"] == 2 * 2 * 2 * 4 * (20 + 3 * 5) * 32
    assert memory["activations"] == memory["unchecked"] == 2 * 3 * 25 * model.kept
    checkpointed = step_memory(model, WORK, {**TRAINING, "is_checkpointed": True}, PACKED)
    assert checkpointed["activations"] == 2 * 35 * (2 * 48 * 2 + model.kept // 2)
    assert checkpointed["unchecked"] == 2 * 35 * model.kept
    gradients = memory["gradients, Adam"] // 3
    update = gradients + memory["activations"] + memory["logits"]
    assert memory["KV cache"] < update
    assert memory["peak GiB"] == memory["weights"] + 2 * gradients + update
