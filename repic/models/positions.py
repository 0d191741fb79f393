"""Positions of text and picture tokens.

Qwen2.5-VL and Qwen3-VL count text along one line and pictures along three (time, row, column):
M-RoPE, https://arxiv.org/abs/2502.13923, section 2.1.2. The library derives these positions only
when it is given token types, and falls back to plain counting without a word; so they are computed
here and always passed.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

# A stretch of text of so many tokens, or a picture of (rows, columns) tokens.
Segment = int | tuple[int, int]


def mrope_positions(segments: Sequence[Segment]) -> Int[Tensor, "3 P"]:
    """Return time, row and column of every token of a prompt.

    After a picture, counting goes on from its longer side.

    Example:
        >>> mrope_positions([2, (2, 1), 1])
        tensor([[0, 1, 2, 2, 4],
                [0, 1, 2, 3, 4],
                [0, 1, 2, 2, 4]])
    """
    blocks, start = [], 0
    for segment in segments:
        if isinstance(segment, int):
            blocks.append(torch.arange(start, start + segment).expand(3, -1))
            start += segment
        else:
            rows, columns = segment
            grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            row, column = (axis.flatten() + start for axis in grid)
            blocks.append(torch.stack([torch.full_like(row, start), row, column]))
            start += max(rows, columns)
    return torch.cat(blocks, dim=1)


def plain_positions(length: int) -> Int[Tensor, "1 P"]:
    """Count tokens from zero, whatever they stand for."""
    return torch.arange(length)[None]
