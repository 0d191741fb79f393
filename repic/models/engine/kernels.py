"""Fused attention that tells its normalizers, with a backward pass that is given them.

torch has such kernels below ``scaled_dot_product_attention``: one for CPUs, and FlashAttention for
half precision on GPUs. The latter has not been run by us on a GPU; a test is marked for one.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Kernel(NamedTuple):
    """A fused attention and its backward pass.

    ``forward(q, k, v, causal, scale)`` returns the output and the logarithm of each query's
    normalizer, [rows, H, L]; ``backward(grad, q, k, v, out, lse, causal, scale)`` the gradients of
    q, k and v.
    """

    forward: Any
    backward: Any


def kernel_for(query: Tensor) -> Kernel | None:
    """Return a fused attention for tensors like this one, or None where there is none."""
    if query.device.type in ("cpu", "meta"):  # meta: for who counts what a kernel takes
        return Kernel(_cpu_forward, _cpu_backward)
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    fits = query.shape[-1] % 8 == 0 and query.shape[-1] <= 256
    if query.device.type == "cuda" and is_half and fits:
        return Kernel(_cuda_forward, _cuda_backward)
    return None


def attend_few(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attend from the few queries of a decoding step; without gradients.

    Args:
        q, k, v: [rows, H, L, D] each, of as many heads.
        mask: is added to the scores, [rows or 1, 1, 1, keys].
        scale: of the scores.

    Returns:
        The output, and the logarithm of each query's normalizer, [rows, H, L], in single precision
        at least.
    """
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, False, attn_mask=mask, scale=scale
        )
    return attend_by_products(q, k, v, mask=mask, scale=scale)


def attend_by_products(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """The same where the kernels take no mask, as those for GPUs: a recorded step needs one."""
    scores = (q @ k.transpose(-1, -2)).float().mul_(scale)
    scores = scores if mask is None else scores + mask
    lse = scores.logsumexp(dim=-1)
    return (scores - lse[..., None]).exp().to(v.dtype) @ v, lse


def _cpu_forward(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, scale=scale
    )


def _cpu_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, q, k, v, out, lse, 0.0, causal, scale=scale
    )


def _cuda_forward(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, scale=scale)[:2]


def _cuda_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    no_dropout = torch.zeros(2, dtype=torch.uint64, device=q.device)
    return torch.ops.aten._scaled_dot_product_flash_attention_backward(
        grad,
        q,
        k,
        v,
        out.contiguous(),
        lse.contiguous(),
        None,
        None,
        q.shape[2],
        k.shape[2],
        0.0,
        causal,
        no_dropout,
        no_dropout[:0],
        scale=scale,
    )
