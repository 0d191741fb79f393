"""Starting weights from which a tiny model learns to look names up within minutes.

Saying the right name is an in-context look-up: find the reference whose description agrees with
what was just said, and copy the name that stands there. From the usual random weights a model of
a few layers stays at chance for tens of thousands of examples. Large trained models are known to
grow heads that look at neighbours and heads that match and copy (Olsson et al. 2022,
https://arxiv.org/abs/2209.11895), and starting attention near an identity is known to help small
models (Trockman and Kolter 2023, https://arxiv.org/abs/2305.09828). Both are combined here:

1. Heads of the first layer look at fixed distances: their biases make the score a function of
   distance alone, through the rotary embedding. Each writes a projection of what it saw into
   its own subspace of the residual stream.
2. Heads of the *matching* layers compare those subspaces: they attend to places whose
   neighbourhood resembles that of the present token and whose predecessor is the present token,
   away from the last few tokens, and copy what stands there.
3. Every head copies: value and output projections are transposes. Heads of the other layers have
   weak random queries and keys, so they start by looking everywhere, pictures included.
   Embeddings have unit variance, and the output head is a small multiple of them.

All weights are trained afterwards.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Distance that each head of the first layer looks at, and the score's gain by rotary frequency,
# fastest first: fast ones make it sharp, slow ones make it broad.
LOCAL_HEADS: tuple[tuple[int, tuple[float, ...]], ...] = (
    (1, (6, 3, 1, 1)),
    (2, (6, 3, 1, 1)),
    (3, (0, 4, 3)),
    (8, (0, 0, 4, 3)),
)
SHARP, BROAD = (0, 1), (2, 3)  # which of them single out one neighbour, and which sum up many
WRITE_SHARP, WRITE_BROAD = 1.5, 3.0  # a sum over many needs more weight to be seen
FAST_FREQUENCIES = 5  # content is matched in slower ones, which distance hardly turns
PREDECESSOR_DIMS = 8  # of a matching head; the rest compares neighbourhoods
PREDECESSOR_GAIN, NEIGHBOURHOOD_GAIN = 1.5, 2.1
REPULSION = 1.0  # of a matching head, from the tokens just before
HEAD_GAIN = 0.03  # of the output head, over the embeddings


@torch.no_grad()
def initialize_for_lookup(model: Any, *, matching_layers: Sequence[int], seed: int) -> None:
    """Overwrite a Qwen2.5-VL language model's weights in place.

    Args:
        model: a ``Qwen2_5_VLForConditionalGeneration`` with four heads per layer, as many for keys.
        matching_layers: which layers, counted from 0, get matching heads; never the first.
        seed: of all random directions.
    """
    random = torch.Generator().manual_seed(seed)
    language = model.model.language_model
    config = language.config
    width, heads = config.hidden_size, config.num_attention_heads
    if heads != len(LOCAL_HEADS) or config.num_key_value_heads != heads:
        raise ValueError(f"the look-up start needs {len(LOCAL_HEADS)} heads, not {heads}")
    size = width // heads
    pairs = torch.arange(size // 2)
    frequencies = config.rope_parameters["rope_theta"] ** (-2 * pairs / size)
    embeddings = torch.randn(language.embed_tokens.weight.shape, generator=random)
    language.embed_tokens.weight.copy_(embeddings)
    model.lm_head.weight.copy_(HEAD_GAIN * embeddings)
    read, write = _rotation(width, random), _rotation(width, random)
    for number, layer in enumerate(language.layers):
        attention = layer.self_attn
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.bias.zero_()
        _copy_values(attention, read if number == 0 else _rotation(width, random))
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.copy_(_gaussian((width, width), 0.5 / math.sqrt(width), random))
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            if number == 0:
                _look_back(attention, head, rows, write, frequencies)
            elif number in matching_layers:
                _match(attention, rows, read, write, random)
        _spread_mlp(layer.mlp, random)


def _rotation(size: int, random: torch.Generator) -> Tensor:
    """A random orthogonal matrix."""
    return torch.linalg.qr(torch.randn(size, size, generator=random))[0]


def _gaussian(shape: tuple[int, ...], std: float, random: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=random) * std


def _copy_values(attention: Any, rotation: Tensor) -> None:
    """What a head attends to is written back as it is, each head a part of the directions."""
    attention.v_proj.weight.copy_(rotation)
    attention.o_proj.weight.copy_(rotation.T)


def _look_back(attention: Any, head: int, rows: slice, write: Tensor, frequencies: Tensor) -> None:
    """Attend at a fixed distance and write into a subspace of the head's own."""
    distance, gains = LOCAL_HEADS[head]
    size = rows.stop - rows.start
    gain = WRITE_SHARP if head in SHARP else WRITE_BROAD
    attention.o_proj.weight[:, rows] = gain * write[rows].T
    for pair, peak in enumerate(gains):
        amplitude = math.sqrt(peak * math.sqrt(size))
        angle = frequencies[pair].item() * distance
        first, second = rows.start + pair, rows.start + pair + size // 2
        attention.q_proj.bias[first] = amplitude
        attention.k_proj.bias[first] = amplitude * math.cos(angle)
        attention.k_proj.bias[second] = amplitude * math.sin(angle)


def _match(
    attention: Any,
    rows: slice,
    read: Tensor,
    write: Tensor,
    random: torch.Generator,
) -> None:
    """Attend to where the neighbourhood is alike and the predecessor is the present token."""
    size, base, width = rows.stop - rows.start, rows.start, len(write)
    half = size // 2
    slow = [*range(FAST_FREQUENCIES, half), *range(half + FAST_FREQUENCIES, size)]
    slow = [base + dim for dim in slow]
    token_dims, bag_dims = slow[:PREDECESSOR_DIMS], slow[PREDECESSOR_DIMS:]
    query, key = attention.q_proj, attention.k_proj
    for projection in (query, key):
        projection.weight[rows] = _gaussian((size, width), 0.05 / math.sqrt(width), random)
    mix = _gaussian((len(token_dims), size), PREDECESSOR_GAIN / math.sqrt(size), random)
    query.weight[token_dims] = mix @ read[:size]
    key.weight[token_dims] = mix @ write[:size]
    neighbourhood = torch.cat([write[head * size : (head + 1) * size] for head in BROAD])
    mix = _gaussian((len(bag_dims), 2 * size), NEIGHBOURHOOD_GAIN / math.sqrt(size), random)
    for projection in (query, key):
        projection.weight[bag_dims] = mix @ neighbourhood
    amplitude = math.sqrt(REPULSION * math.sqrt(size))
    for pair in (FAST_FREQUENCIES - 2, FAST_FREQUENCIES - 1):
        query.bias[base + pair] = amplitude
        key.bias[base + pair] = -amplitude


def _spread_mlp(mlp: Any, random: torch.Generator) -> None:
    for projection in (mlp.gate_proj, mlp.up_proj):
        shape = projection.weight.shape
        projection.weight.copy_(_gaussian(shape, 1 / math.sqrt(shape[1]), random))
    shape = mlp.down_proj.weight.shape
    mlp.down_proj.weight.copy_(_gaussian(shape, 0.5 / math.sqrt(shape[1]), random))
