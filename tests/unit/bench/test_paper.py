"""The papers' settings, as conf/bench/paper.yaml has them; and a step's memory."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaModel

from repic.bench.paper import make_network, memory_row, paper_table
from repic.bench.results import costs_on_paper
from repic.models.costs import PACKED, PLAIN, SCHEMES, Workload
from repic.models.families import FAMILIES
from repic.models.memory import layer_bytes
from repic.tables.write import markdown
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


# Queries are wider than the hidden size, so that no two of a layer's sizes are alike.
TEXT: dict[str, Any] = dict(vocab_size=99, hidden_size=48, intermediate_size=80, head_dim=16)
TEXT |= dict(num_attention_heads=4, num_key_value_heads=2, bos_token_id=0, eos_token_id=1)


def test_the_papers_settings_make_a_table() -> None:
    rows = paper_table({name: small(name) for name in PAPER["models"]}, PAPER["settings"])
    assert len(rows) == len(PAPER["settings"]) * len(SCHEMES)
    lines = markdown(costs_on_paper(rows)).splitlines()[2:]
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    for row in rows:
        assert row["model TFLOP"] == pytest.approx(
            sum(row[key] for key in ("vision", "prefill", "decode", "reference", "update"))
        )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "llava_1_5_7"}, "paper.settings[0].model: 'llava_1_5_7' is not one of"),
        ({"model": "odd"}, "paper.models.odd: "),
    ],
)
def test_a_model_that_there_cannot_be_is_named(changes: dict[str, Any], told: str) -> None:
    odd = {"model_type": "llava", "text_config": {"hidden_size": "x"}, "vision_config": {}}
    models = {**PAPER["models"], "odd": odd}
    with pytest.raises(ValueError, match=re.escape(told)):
        paper_table(models, [{**PAPER["settings"][0], **changes}])


@pytest.mark.parametrize("lora", [None, LORA])
def test_weights_gradients_and_moments(llava: Path, lora: dict | None) -> None:
    policy = tiny.load(llava, dtype="bfloat16", lora=lora)
    trained = policy.trainable_parameters()
    optimizer = torch.optim.Adam(trained)
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    rank = lora and lora["r"]
    memory = memory_row(policy.network, WORK, {**TRAINING, "lora_rank": rank}, PLAIN)
    size = sum(weight.nbytes for weight in trained)
    states = [state for values in optimizer.state.values() for state in values.values()]
    moments = sum(state.nbytes for state in states if state.ndim)
    assert memory["gradients, Adam"] == size + moments
    weights = sum(weight.nbytes for weight in policy.model.parameters())
    assert memory["weights"] == weights + (0 if lora else size)  # and the reference


def test_memory_worked_by_hand() -> None:
    network = make_network(small("llava_1_5_7b", **TEXT), lora_rank=None)
    memory = memory_row(network, WORK, TRAINING, PLAIN)
    assert memory["logits"] == 4 * 2 * (3 * 6) * 99  # bytes, groups, places, vocabulary
    assert memory["all logits"] == 4 * 2 * (3 * 25) * 99
    # Bytes, layers, keys and values, captions, tokens, values.
    assert memory["KV cache"] == 2 * 2 * 2 * 12 * 25 * 32
    layer = layer_bytes(network.config.get_text_config(), width=2, lora_rank=None)
    packed = memory_row(network, WORK, TRAINING, PACKED)
    assert packed["KV cache"] == 2 * 2 * 2 * 4 * (20 + 3 * 5) * 32
    assert memory["activations"] == memory["unchecked"] == 2 * 3 * 25 * 2 * layer
    checkpointed = memory_row(network, WORK, {**TRAINING, "is_checkpointed": True}, PACKED)
    assert checkpointed["activations"] == 2 * 35 * (2 * 48 * 2 + layer)
    assert checkpointed["unchecked"] == 2 * 35 * 2 * layer
    gradients = memory["gradients, Adam"] // 3
    update = gradients + memory["activations"] + memory["logits"]
    assert memory["KV cache"] < update
    assert memory["peak GiB"] == memory["weights"] + 2 * gradients + update


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rank", [None, 8])
def test_a_layer_keeps_what_autograd_saves(dtype: torch.dtype, rank: int | None) -> None:
    text = LlamaConfig(**TEXT)
    expected = layer_bytes(text, width=dtype.itemsize, lora_rank=rank)
    if rank:
        expected += 3 * (5 * 48 + 64 + 80)  # on a CPU the masks are float32
    two, three = (saved_bytes(text, layers, dtype, rank) for layers in (2, 3))
    assert three - two == 16 * expected


def saved_bytes(config: LlamaConfig, layers: int, dtype: torch.dtype, rank: int | None) -> int:
    """What autograd holds of 16 tokens after a forward, weights aside."""
    config.num_hidden_layers = layers
    model: Any = LlamaModel._from_config(config, attn_implementation="sdpa").to(dtype).train()
    if rank:
        names = list(FAMILIES["llava"].adapted)
        lora = LoraConfig(r=rank, lora_dropout=0.05, target_modules=names)
        model = get_peft_model(model, lora).train().get_base_model()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    held = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(torch.zeros(1, 16, dtype=torch.long), use_cache=False)
    assert output.last_hidden_state.requires_grad
    return sum(size for place, size in held.items() if place not in weights)
