"""Parts of a model against torch's own counter, which sees what the library's models really do.

The counter knows no masks: eager attention computes, and it counts, every pair of a rectangle. So
the formulas get rectangular pairs here; pairs themselves are counted from masks.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from repic.models.costs.flops import (
    Grid,
    Work,
    backward_flops,
    forward_flops,
    head_flops,
    image_tokens,
    language_flops,
    recomputed_flops,
    vision_flops,
    window_pairs,
)
from repic.models.costs.sizes import language, num_adapter_parameters, num_parameters
from repic.models.families import FAMILIES, EncodedImage
from repic.models.policy import Policy
from tests.counting import CONFIGS, LORA, count, load

TOTALS = {"qwen2_5_vl_3b": 3_754_622_976, "qwen2_5_vl_7b": 8_292_166_656}
TOTALS["llava_1_5_7b"] = 7_063_427_072


def language_pass(policy: Policy, length: int) -> torch.Tensor:
    axes = 3 if policy.network.config.model_type == "qwen2_5_vl" else 1
    hidden = policy.hidden_states(
        policy.embed_tokens(torch.full((1, length), 9)),
        attention_mask=torch.ones(1, length, dtype=torch.bool),
        position_ids=torch.arange(length).expand(axes, 1, -1),
    )
    return policy.logits(hidden[:, -3:])


@pytest.mark.parametrize("length", [3, 17])
@pytest.mark.parametrize("lora", [None, LORA])
def test_forward_and_backward_are_what_torch_counts(
    directory: Path, lora: dict | None, length: int
) -> None:
    policy, config = load(directory, lora=lora)
    rank, lm = lora and lora["r"], language(config)
    work = Work(length, length * length, 3)
    assert count(lambda: language_pass(policy, length)) == forward_flops(
        config, work, lora_rank=rank
    )
    loss = language_pass(policy, length).sum()
    # Embeddings that are frozen take no gradient from the first layer's q, k and v.
    spared = sum(n * m + rank * n for n, m in lm.projections[:3]) if rank else 0
    expected = backward_flops(config, work, lora_rank=rank) - 2 * length * spared
    assert count(loss.backward) == expected


@pytest.mark.parametrize("lora", [None, LORA])
def test_checkpointing_computes_the_layers_again(directory: Path, lora: dict | None) -> None:
    policy, config = load(directory, lora=lora, gradient_checkpointing=True)
    rank, lm = lora and lora["r"], language(config)
    loss = language_pass(policy.train(), 17).sum()
    work = Work(17, 17 * 17, 3)
    expected = backward_flops(config, work, lora_rank=rank)
    expected += recomputed_flops(config, work, lora_rank=rank)
    # Torch stops where all is there that the backward needs: before each layer's last matrix.
    last = lm.hidden * (rank or lm.intermediate)
    assert count(loss.backward) == expected - 2 * 17 * lm.layers * last


@pytest.mark.parametrize("grids", [[(1, 8, 8)], [(1, 4, 6), (1, 10, 14)], [(2, 6, 2)]])
def test_qwens_vision_tower_is_what_torch_counts(qwen: Path, grids: list[Grid]) -> None:
    policy, config = load(qwen)
    pixels = torch.zeros(sum(t * h * w for t, h, w in grids), 3 * 2 * 7 * 7)
    features: list = []
    parts = pixels.split([t * h * w for t, h, w in grids])
    images = [
        EncodedImage({"pixel_values": x, "image_grid_thw": torch.tensor([g])}, "", len(x) // 4)
        for x, g in zip(parts, grids, strict=True)
    ]
    expected = count(lambda: features.extend(policy.picture_features(images)))
    assert vision_flops(config, grids) == expected
    assert [len(f) for f in features] == [image_tokens(config, grid) for grid in grids]


def test_llavas_vision_tower_is_what_torch_counts(llava: Path) -> None:
    policy, config = load(llava)
    images = [EncodedImage({"pixel_values": torch.zeros(1, 3, 28, 28)}, "", 4)] * 3
    counted = count(lambda: policy.picture_features(images))
    assert vision_flops(config, [(1, 2, 2)] * 3) == counted
    # A layer: 5 places, hidden size 32, intermediate size 48.
    layer = 2 * 5 * (4 * 32 * 32 + 2 * 32 * 48) + 4 * 5 * 5 * 32
    assert vision_flops(policy.network.config, [(1, 2, 2)]) == counted // 3 - layer
    with pytest.raises(ValueError, match="takes pictures of"):
        vision_flops(config, [(1, 4, 4)])


def build_without_storage(config: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, attn_implementation="eager")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_real_models_weights(name: str) -> None:
    sizes = num_parameters(CONFIGS[name])
    weights = dict(build_without_storage(deepcopy(CONFIGS[name])).named_parameters())
    assert sizes.total == sum(weight.numel() for weight in weights.values()) == TOTALS[name]
    vision = sum(w.numel() for n, w in weights.items() if not FAMILIES["llava"].is_language(n))
    assert (sizes.vision, sizes.language) == (vision, TOTALS[name] - vision)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2_5_vl_7b", "llava_1_5_7b"])
def test_the_real_models_flops(name: str) -> None:
    config, length = deepcopy(CONFIGS[name]), 64
    model = build_without_storage(config).model
    inputs = {
        "inputs_embeds": torch.empty(1, length, language(config).hidden, device="meta"),
        "attention_mask": torch.empty(1, 1, length, length, device="meta"),
        "position_ids": torch.empty(1, length, dtype=torch.long, device="meta"),
    }
    counted = count(lambda: model.language_model(**inputs, use_cache=False))
    assert language_flops(config, Work(length, length * length, 0)) == counted
    if name == "llava_1_5_7b":
        pixels = torch.empty(1, 3, 336, 336, device="meta")
        counted = count(lambda: model.get_image_features(pixel_values=pixels))
        config.vision_feature_layer = -1  # see ``load``
        assert vision_flops(config, [(1, 24, 24)]) == counted
        return
    grid = torch.tensor([[1, 8, 16]])
    order, windows = get_vision_window_index(grid, 2, 112, 14)
    layout = {
        "position_ids": get_vision_position_ids(grid, 2).to("meta"),
        "window_index": order.to("meta"),
        "cu_window_seqlens": windows,
    }
    pixels = torch.empty(8 * 16, 1176, device="meta")
    counted = count(lambda: model.visual(pixels, grid_thw=grid, **layout))
    assert vision_flops(config, [(1, 8, 16)]) == counted


def test_adapters_are_as_many_as_peft_makes(directory: Path) -> None:
    policy, config = load(directory, lora=LORA)
    trained = sum(weight.numel() for weight in policy.trainable_parameters())
    assert num_adapter_parameters(config, 4) == trained


@pytest.mark.parametrize("grid", [(1, 8, 8), (1, 6, 10), (2, 2, 18), (1, 36, 48), (1, 34, 46)])
def test_windows_are_the_librarys(grid: Grid) -> None:
    config = CONFIGS["qwen2_5_vl_7b"]
    _, boundaries = get_vision_window_index(torch.tensor([grid]), 2, 112, 14)
    assert window_pairs(config, grid) == (boundaries.diff() ** 2).sum()


def test_the_head_counts_only_where_it_is_applied() -> None:
    config = CONFIGS["qwen2_5_vl_7b"]
    assert head_flops(config, 10) == 2 * 10 * 3584 * 152064


def test_other_architectures_are_refused() -> None:
    config = deepcopy(CONFIGS["llava_1_5_7b"])
    config.model_type = "blip"
    with pytest.raises(ValueError, match="blip"):
        num_parameters(config)
