"""The vision towers of Qwen2.5-VL and Qwen3-VL without Python loops over images.

Under SDPA the library calls attention once per image (or window) and layer, and builds positions
and window order image by image: for hundreds of small pictures that is nearly all of the time.
Here segments of one length share one attention call, and what follows from an image's grid is, in
Qwen2.5-VL's tower, computed once per grid. The results are those of the original forward up to
rounding.
"""

from functools import lru_cache, partial
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
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionAttention
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

_ATTENTION = (Qwen2_5_VLVisionAttention, Qwen3VLVisionAttention)


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
        elif isinstance(module, Qwen2_5_VisionTransformerPretrainedModel) and not any(
            isinstance(hook, partial) and hook.func is _add_layout
            for hook in module._forward_pre_hooks.values()
        ):
            config = module.config
            sizes = (config.spatial_merge_size, config.window_size, config.patch_size)
            module.register_forward_pre_hook(partial(_add_layout, sizes=sizes), with_kwargs=True)
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
        boundaries: where segments start, and the total length S at the end.
        scaling: factor on the dot products.
    """
    starts, lengths = boundaries[:-1], boundaries.diff()
    distinct = sorted(set(lengths.tolist()) - {0})
    if len(distinct) == 1:  # nothing to reorder
        return _attend(query, key, value, distinct[0], scaling)
    order, outputs = [], []
    for length in distinct:
        offsets = torch.arange(length, device=query.device)
        index = (starts[lengths == length].long()[:, None] + offsets).flatten()
        outputs.append(_attend(query[index], key[index], value[index], length, scaling))
        order.append(index)
    return torch.cat(outputs)[torch.cat(order).argsort()]


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
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, sizes: tuple[int, int, int]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the tower, before its forward, what it would derive from the grids one by one."""
    grid_thw = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]
    layouts = [_layout(tuple(grid), *sizes) for grid in grid_thw.tolist()]
    order, boundaries, tokens, patches = [], [torch.zeros(1, dtype=torch.int32)], 0, 0
    for positions, index, ends in layouts:
        order.append(index + tokens)
        boundaries.append(ends[1:] + patches)
        tokens, patches = tokens + len(index), patches + len(positions)
    added = {
        "position_ids": torch.cat([positions for positions, _, _ in layouts]),
        "window_index": torch.cat(order),
        "cu_window_seqlens": torch.cat(boundaries),
    }
    return args, {**kwargs, **{name: x.to(grid_thw.device) for name, x in added.items()}}
