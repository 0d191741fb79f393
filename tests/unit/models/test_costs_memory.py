"""Memory against what tensors take, and peaks of known devices."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForImageTextToText, DynamicCache

from repic.models.costs import PACKED, PLAIN, Training, Workload, peak_flops, utilization
from repic.models.costs.memory import activation_bytes, cache_bytes, layer_bytes, step_memory
from repic.models.costs.sizes import language
from repic.models.costs.table import make_config
from repic.models.families import FAMILIES
from tests import tiny
from tests.counting import PAPER, load

WORK = Workload(prompts=4, group_size=3, prompt_tokens=20, caption_tokens=6, images=())
BFLOAT16 = Training(
    lora_rank=None, has_reference=True, is_checkpointed=False, micro_batch=2, weight_bytes=2
)
# Queries are wider than the hidden size, so that no two of a layer's sizes are alike.
TEXT = dict(vocab_size=99, hidden_size=48, intermediate_size=80, num_attention_heads=4, head_dim=16)
TEXT |= dict(num_key_value_heads=2, model_type="llama", bos_token_id=0, eos_token_id=1)


def saved_bytes(model: Any, tokens: int) -> int:
    """What autograd holds after a forward, weights aside."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    held = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        embeddings = model.get_input_embeddings()(torch.zeros(1, tokens, dtype=torch.long))
        output = model.model.language_model(inputs_embeds=embeddings, use_cache=False)
    assert output.last_hidden_state.requires_grad
    return sum(size for place, size in held.items() if place not in weights)


def build(layers: int, dtype: torch.dtype, rank: int | None) -> tuple[Any, nn.Module]:
    dimensions = deepcopy(PAPER["models"]["llava_1_5_7b"])
    dimensions["text_config"] = {**TEXT, "num_hidden_layers": layers}
    dimensions["vision_config"] |= dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1)
    config = make_config(dimensions)
    model: Any = AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa")
    model = model.to(dtype).train()
    if rank:
        model.requires_grad_(False)
        lora = LoraConfig(
            r=rank, lora_dropout=0.05, target_modules=FAMILIES["llava"].adapter_targets
        )
        model = get_peft_model(model, lora).train().get_base_model()
    return config, model


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rank", [None, 8])
def test_a_layer_keeps_what_autograd_saves(dtype: torch.dtype, rank: int | None) -> None:
    tokens = 16
    (config, two), (_, three) = (build(layers, dtype, rank) for layers in (2, 3))
    training = Training(
        lora_rank=rank,
        has_reference=True,
        is_checkpointed=False,
        micro_batch=1,
        weight_bytes=dtype.itemsize,
    )
    expected = layer_bytes(config, training)
    if rank:  # on a CPU the masks are float32
        expected += 3 * sum(n for n, _ in language(config).projections)
    assert saved_bytes(three, tokens) - saved_bytes(two, tokens) == tokens * expected


def test_checkpointing_keeps_inputs_and_one_layer() -> None:
    config, _ = build(3, torch.bfloat16, None)
    one = layer_bytes(config, BFLOAT16)
    assert activation_bytes(config, 10, BFLOAT16) == 10 * 3 * one
    checkpointed = Training(
        lora_rank=None, has_reference=True, is_checkpointed=True, micro_batch=2, weight_bytes=2
    )
    assert activation_bytes(config, 10, checkpointed) == 10 * (3 * 48 * 2 + one)
    memory = step_memory(config, WORK, checkpointed, PACKED)
    assert memory.activations == activation_bytes(config, 2 * (20 + 3 * 5), checkpointed)
    assert memory.all_activations == activation_bytes(config, 2 * (20 + 3 * 5), BFLOAT16)


def test_the_cache_is_as_large_as_the_librarys(directory: Path) -> None:
    policy, config = load(directory)
    cache = DynamicCache()
    axes = 3 if config.model_type == "qwen2_5_vl" else 1
    with torch.no_grad():
        policy.hidden_states(
            policy.embed_tokens(torch.full((12, 25), 9)),
            attention_mask=torch.ones(12, 25, dtype=torch.bool),
            position_ids=torch.arange(25).expand(axes, 12, -1),
            cache=cache,
        )
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    # 4 prompts × 3 captions of 20 + 6 - 1 tokens.
    assert cache_bytes(config, WORK, PLAIN, width=4) == held
    assert cache_bytes(config, WORK, PACKED, width=4) * 12 * 25 == held * 4 * (20 + 3 * 5)


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "dropout": 0.05}])
def test_weights_gradients_and_moments(directory: Path, lora: dict | None) -> None:
    policy = tiny.load(directory, dtype="bfloat16", lora=lora)
    trained = policy.trainable_parameters()
    optimizer = torch.optim.Adam(trained)
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    training = Training(
        lora_rank=lora and lora["r"],
        has_reference=True,
        is_checkpointed=False,
        micro_batch=1,
        weight_bytes=2,
    )
    memory = step_memory(policy.network.config, WORK, training, PLAIN)
    size = sum(weight.nbytes for weight in trained)
    assert memory.weights == sum(weight.nbytes for weight in policy.model.parameters())
    assert memory.gradients == size
    states = [state for values in optimizer.state.values() for state in values.values()]
    assert memory.optimizer == sum(state.nbytes for state in states if state.ndim)
    assert memory.reference == (0 if lora else size)


def test_a_peak_worked_by_hand() -> None:
    config, _ = build(3, torch.bfloat16, None)
    memory = step_memory(config, WORK, BFLOAT16, PLAIN)
    assert memory.logits == 4 * 2 * (3 * 6) * 99  # bytes, groups, places, vocabulary
    assert memory.all_logits == 4 * 2 * (3 * 25) * 99
    update = memory.gradients + memory.activations + memory.logits
    assert memory.cache < update
    assert memory.peak == memory.weights + memory.reference + memory.optimizer + update


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA B200", 2250),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA L4", 121),
        ("NVIDIA A40", 149.7),
        ("NVIDIA A10", 125),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("Tesla T4", None),
        ("cpu", None),
    ],
)
def test_peaks_are_known_by_full_name_only(name: str, tera: float | None) -> None:
    peak = peak_flops(name, "bfloat16")
    assert peak == (None if tera is None else pytest.approx(tera * 1e12))
    assert peak_flops(name, "float16") == peak
    assert peak_flops(name, "float32") is None


def test_utilization() -> None:
    assert utilization(312e12, 2.0, peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16")) == 0.5
    assert utilization(312e12, 2.0, None) is None
