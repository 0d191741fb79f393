"""The vision towers of Qwen2.5-VL and Qwen3-VL without Python loops over images.

Under SDPA the library calls attention once per image (or window) and layer, and builds positions
and window order image by image: for hundreds of small pictures that is nearly all of the time.
Here segments of one length share one attention call, and what follows from an image's grid is, in
Qwen2.5-VL's tower, computed once per grid. The results are those of the original forward up to
rounding.
"""

from functools import lru_cache
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionAttention,
    apply_rotary_pos_emb_vision,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
)
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_position_ids,
    get_vision_window_index,
)

_ATTENTION = (Qwen2_5_VLVisionAttention, Qwen3VLVisionAttention)
_TOWERS = (Qwen2_5_VisionTransformerPretrainedModel, Qwen3VLVisionModel)


def batch_vision_attention(model: nn.Module) -> int:
    """Replace, in place, the looping parts of every such vision tower in ``model``.

    Towers that run another implementation than SDPA (flash attention has its own kernel for many
    lengths, eager is wanted as it is) and other architectures are left alone.

    Returns:
        The number of attention layers that were changed.
    """
    changed = 0
    for module in model.modules():
        if isinstance(module, _ATTENTION):
            config: Any = module.config
            if config._attn_implementation == "sdpa":
                module.forward = MethodType(_attend_by_length, module)
                changed += 1
        elif isinstance(module, _TOWERS) and not any(
            hook in (_add_layout, _move_grids) for hook in module._forward_pre_hooks.values()
        ):
            is_windowed = isinstance(module, Qwen2_5_VisionTransformerPretrainedModel)
            hook = _add_layout if is_windowed else _move_grids
            module.register_forward_pre_hook(hook, with_kwargs=True)
    return changed


def attention_by_length(
    query: Float[Tensor, "S H D"],
    key: Float[Tensor, "S H D"],
    value: Float[Tensor, "S H D"],
    boundaries: Int[Tensor, " segments_plus_one"],
    *,
    scaling: float,
) -> Float[Tensor, "S H D"]:
    """Attend inside consecutive segments, with one call per distinct segment length.

    Args:
        boundaries: where segments start, and the total length S at the end; on the CPU, as a GPU
            would be waited for.
        scaling: factor on the dot products.
    """
    boundaries = boundaries.cpu()
    starts, lengths = boundaries[:-1], boundaries.diff()
    distinct = sorted(set(lengths.tolist()) - {0})
    if len(distinct) == 1:  # nothing to reorder
        return _attend(query, key, value, distinct[0], scaling)
    order, outputs = [], []
    for length in distinct:
        index = (starts[lengths == length].long()[:, None] + torch.arange(length)).flatten()
        order.append(index)
        index = index.to(query.device)
        outputs.append(_attend(query[index], key[index], value[index], length, scaling))
    return torch.cat(outputs)[torch.cat(order).argsort().to(query.device)]


def _attend(query: Tensor, key: Tensor, value: Tensor, length: int, scaling: float) -> Tensor:
    """Full attention inside every run of ``length`` rows."""
    q, k, v = (x.unflatten(0, (-1, length)).transpose(1, 2) for x in (query, key, value))
    out = scaled_dot_product_attention(q, k, v, scale=scaling)
    return out.transpose(1, 2).flatten(0, 1)


def _attend_by_length(
    self: Any,
    hidden_states: Tensor,
    cu_seqlens: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    **_: Any,
) -> Tensor:
    """Stand in for an attention layer's ``forward``."""
    query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    out = attention_by_length(query, key, value, cu_seqlens, scaling=self.scaling)
    return self.proj(out.flatten(1))


@lru_cache(maxsize=512)
def _layout(
    grid: tuple[int, ...], merge: int, window: int, patch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, window order and window boundaries of one image, counted from zero."""
    grid_thw = torch.tensor([grid])
    positions = get_vision_position_ids(grid_thw, merge)
    return positions, *get_vision_window_index(grid_thw, merge, window, patch)


def _add_layout(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the tower, before its forward, what it would derive from the grids one by one.

    Grids that lie on the CPU stay there: all that is asked of them is asked here, and a GPU is not
    waited for.
    """
    grid_thw = (kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]).cpu()
    config, device = module.config, _pixels(args, kwargs).device
    sizes = (config.spatial_merge_size, config.window_size, config.patch_size)
    layouts = [_layout(tuple(grid), *sizes) for grid in grid_thw.tolist()]
    order, windows, tokens, patches = [], [torch.zeros(1, dtype=torch.int32)], 0, 0
    for positions, index, ends in layouts:
        order.append(index + tokens)
        windows.append(ends[1:] + patches)
        tokens, patches = tokens + len(index), patches + len(positions)
    added: dict[str, Any] = {
        "position_ids": torch.cat([positions for positions, _, _ in layouts]).to(device),
        "window_index": torch.cat(order).to(device),
    }
    boundaries = {"seqlens": get_vision_cu_seqlens(grid_thw), "window_seqlens": torch.cat(windows)}
    for name, bounds in boundaries.items():
        if "flash" in config._attn_implementation:  # reads them where the pictures are
            added[f"max_{name[:-1]}"] = int(bounds.diff().max())
            bounds = bounds.to(device)
        added[f"cu_{name}"] = bounds
    return args, {**kwargs, **added}


def _move_grids(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Bring grids to the pictures, for a tower that derives from them by itself."""
    device = _pixels(args, kwargs).device
    moved = {name: kwargs[name].to(device) for name in ("grid_thw",) if name in kwargs}
    return args, {**kwargs, **moved}


def _pixels(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]
