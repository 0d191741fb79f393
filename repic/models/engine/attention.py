"""Attention inside packed rows: a group's prompt once, its captions behind it.

A packed row is ``[prompt | caption 1 | … | caption G]``, or several such groups in a row. A prompt
token sees the prompt up to itself; a caption's token sees the whole prompt and its own caption up
to itself. With one mask over the whole row, most of the work would be on places that the mask
then removes; so the captions' attention is computed in two parts, against the prompt and against
themselves, and the parts are put together by their normalizers, as FlashAttention does with blocks
(https://arxiv.org/abs/2205.14135, section 3.1). The same identity gives the gradient: with the
whole's output and normalizer, each part's backward pass yields its share of the sum.

The library calls what is registered under an attention's name with whatever else its forward was
given; ``install`` puts a function there that serves calls with ``packing=``, and hands on others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from repic.models.engine.kernels import kernel_for

PACKABLE = ("sdpa", "flash_attention_2")


@runtime_checkable
class Packing(Protocol):
    """Computes attention in place of the library."""

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "rows H L D"],
        key: Float[Tensor, "rows H_kv L D"],
        value: Float[Tensor, "rows H_kv L D"],
        *,
        scale: float,
    ) -> Float[Tensor, "rows L H D"]: ...


@dataclass(frozen=True)
class Span:
    """One group's place in a packed row.

    Attributes:
        prompt: where the prompt is.
        captions: where its captions are, one after another, right behind the prompt.
        lengths: of the captions.
        grid: places of the captions' tokens, counted from the start of ``captions``, a row for
            each caption; None when all are equally long, and laying them in rows takes no index.
        outside: True past a caption's end, where ``grid`` repeats a token.
        order: where each of the captions' tokens is in the flattened ``grid``.
    """

    prompt: slice
    captions: slice
    lengths: tuple[int, ...]
    grid: Int[Tensor, "G T"] | None = None
    outside: Bool[Tensor, "G T"] | None = None
    order: Int[Tensor, " tokens"] | None = None


def install(implementation: str) -> None:
    """Let an attention of the library serve packed rows as well; once is enough."""
    original = ALL_ATTENTION_FUNCTIONS[implementation]
    if getattr(original, "serves_packed_rows", False):
        return

    def attend(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        packing: Packing | None = None,
        **others: Any,
    ) -> tuple[Tensor, Any]:
        if packing is None:
            return original(module, query, key, value, attention_mask, scaling=scaling, **others)
        scale = scaling if scaling is not None else query.shape[-1] ** -0.5
        return packing.attend(module.layer_idx, query, key, value, scale=scale), None

    attend.serves_packed_rows = True  # pyright: ignore[reportFunctionMemberAccess]
    AttentionInterface.register(implementation, attend)


def group_attention(
    query: Float[Tensor, "1 H L D"],
    key: Float[Tensor, "1 H_kv L D"],
    value: Float[Tensor, "1 H_kv L D"],
    spans: Sequence[Span],
    *,
    scale: float,
) -> Float[Tensor, "1 L H D"]:
    """Attend inside the groups of a packed row; every token must be in one of the spans."""
    if kernel_for(query) is None:
        return _joined_attention(query, key, value, spans, scale)
    return _MergedAttention.apply(query, key, value, tuple(spans), scale)  # pyright: ignore[reportReturnType]


class _MergedAttention(torch.autograd.Function):
    """Attention in parts, with the gradient of the whole; nothing is expanded or masked."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, spans: tuple[Span, ...], scale: float
    ) -> Tensor:
        kernel: Any = kernel_for(query)
        _, heads, length, size = query.shape
        out = query.new_empty(1, length, heads, size).transpose(1, 2)
        lse = query.new_empty(1, heads, length, dtype=torch.float32)
        lse = lse.double() if query.dtype == torch.float64 else lse
        for span in spans:
            q, k, v = (x[:, :, span.prompt] for x in (query, key, value))
            found = kernel.forward(q, _repeat(k, heads), _repeat(v, heads), True, scale)
            out[:, :, span.prompt], lse[:, :, span.prompt] = found
            if span.lengths:
                found = _forward_captions(kernel, query, key, value, span, scale)
                out[:, :, span.captions], lse[:, :, span.captions] = found
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.spans, ctx.scale = spans, scale
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        kernel: Any = kernel_for(query)
        heads, kv_heads, scale = query.shape[1], key.shape[1], ctx.scale
        grad = grads[0].transpose(1, 2)
        d_query, d_key, d_value = (torch.empty_like(x) for x in (query, key, value))
        for span in ctx.spans:
            q, k, v, o, g = (x[:, :, span.prompt] for x in (query, key, value, out, grad))
            parts = kernel.backward(
                g,
                q,
                _repeat(k, heads),
                _repeat(v, heads),
                o,
                lse[:, :, span.prompt],
                True,
                scale,
            )
            d_query[:, :, span.prompt] = parts[0]
            d_key[:, :, span.prompt] = _sum_heads(parts[1], kv_heads)
            d_value[:, :, span.prompt] = _sum_heads(parts[2], kv_heads)
            if span.lengths:
                tensors = (query, key, value, out, lse, grad)
                _backward_captions(kernel, tensors, (d_query, d_key, d_value), span, scale)
        return d_query, d_key, d_value, None, None


def _forward_captions(
    kernel: Any, query: Tensor, key: Tensor, value: Tensor, span: Span, scale: float
) -> tuple[Tensor, Tensor]:
    """Attend from a group's captions to their prompt and to themselves."""
    heads = query.shape[1]
    q, k, v = (x[:, :, span.captions] for x in (query, key, value))
    k_prompt, v_prompt = (x[:, :, span.prompt] for x in (key, value))
    out, lse = kernel.forward(_fold(q, k.shape[1]), k_prompt, v_prompt, False, scale)
    out, lse = _unfold(out, heads), lse.reshape(1, heads, -1)
    own, own_lse = kernel.forward(
        _rows(q, span),
        _rows(_repeat(k, heads), span),
        _rows(_repeat(v, heads), span),
        True,
        scale,
    )
    own, own_lse = _tokens(own, span), _tokens(own_lse[..., None], span)[..., 0]
    both = torch.logaddexp(lse, own_lse)
    share, own_share = ((x - both).exp()[..., None] for x in (lse, own_lse))
    return (out * share + own * own_share).to(out.dtype), both


def _backward_captions(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    gradients: tuple[Tensor, Tensor, Tensor],
    span: Span,
    scale: float,
) -> None:
    """Write the captions' gradients, and add the captions' share to the prompt's."""
    query, key, value, *_ = tensors
    heads, kv_heads = query.shape[1], key.shape[1]
    q, k, v, out, lse, grad = (x[:, :, span.captions] for x in tensors)
    d_query, d_key, d_value = gradients
    k_prompt, v_prompt = (x[:, :, span.prompt] for x in (key, value))
    parts = kernel.backward(
        _fold(grad, kv_heads),
        _fold(q, kv_heads),
        k_prompt,
        v_prompt,
        _fold(out, kv_heads),
        lse.reshape(1, kv_heads, -1),
        False,
        scale,
    )
    d_key[:, :, span.prompt] += parts[1]
    d_value[:, :, span.prompt] += parts[2]
    own_lse = _rows(lse[..., None], span)[..., 0]
    if span.outside is not None:
        # A place past a caption's end repeats a token. It must get no weight: by its own
        # normalizer, exp(score - normalizer) of a later score could overflow, and 0 × inf is NaN.
        own_lse = own_lse.masked_fill(span.outside[:, None], math.inf)
    own = kernel.backward(
        _rows(grad, span),
        _rows(q, span),
        _rows(_repeat(k, heads), span),
        _rows(_repeat(v, heads), span),
        _rows(out, span),
        own_lse.contiguous(),
        True,
        scale,
    )
    own_query, own_key, own_value = (_tokens(x, span) for x in own)
    d_query[:, :, span.captions] = _unfold(parts[0], heads) + own_query
    d_key[:, :, span.captions] = _sum_heads(own_key, kv_heads)
    d_value[:, :, span.captions] = _sum_heads(own_value, kv_heads)


def _joined_attention(
    query: Tensor, key: Tensor, value: Tensor, spans: Sequence[Span], scale: float
) -> Tensor:
    """The same with a copy of the prompt's keys and values for every caption."""
    heads = query.shape[1]
    key, value = _repeat(key, heads), _repeat(value, heads)
    outputs = []
    for span in spans:
        q, k, v = (x[:, :, span.prompt] for x in (query, key, value))
        outputs.append(scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale))
        if span.lengths:
            own = [_rows(x[:, :, span.captions], span) for x in (query, key, value)]
            k, v = (
                torch.cat([prompt.expand(len(own[0]), -1, -1, -1), part], dim=2)
                for prompt, part in zip((k, v), own[1:], strict=True)
            )
            longest = own[0].shape[2]
            sees = torch.ones(longest, longest, dtype=torch.bool, device=query.device).tril()
            sees = pad(sees, (k.shape[2] - longest, 0), value=True)
            out = scaled_dot_product_attention(own[0], k, v, attn_mask=sees, scale=scale)
            outputs.append(_tokens(out, span))
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _repeat(x: Tensor, heads: int) -> Tensor:
    """Give every query head its key (or value) head."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def _sum_heads(x: Tensor, kv_heads: int) -> Tensor:
    """Undo ``_repeat`` for gradients."""
    return x if x.shape[1] == kv_heads else x.unflatten(1, (kv_heads, -1)).sum(dim=2)


def _fold(x: Tensor, kv_heads: int) -> Tensor:
    """Lay the query heads that share a key head one after another: [1, H_kv, heads × L, D]."""
    return x.reshape(1, kv_heads, -1, x.shape[-1])


def _unfold(x: Tensor, heads: int) -> Tensor:
    """Undo ``_fold``."""
    return x.reshape(1, heads, -1, x.shape[-1])


def _rows(x: Tensor, span: Span) -> Tensor:
    """Lay captions in rows: [1, H, tokens, D] to [G, H, T, D]."""
    if span.grid is None:
        return x[0].unflatten(1, (len(span.lengths), -1)).transpose(0, 1)
    return x[0][:, span.grid].transpose(0, 1)


def _tokens(x: Tensor, span: Span) -> Tensor:
    """Undo ``_rows``."""
    flat = x.transpose(0, 1).flatten(1, 2)[None]
    return flat if span.order is None else flat[:, :, span.order]
