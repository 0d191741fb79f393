"""Floating-point operations of the parts of a vision-language model.

Conventions, those of PaLM's appendix B (https://arxiv.org/abs/2204.02311):

1. A multiplication and its addition are two operations. Only matrix products and the patch
   embedding's convolution count; norms, activations, softmax and rotations do not.
2. Attention counts the pairs of query and key that the mask lets through, not the square that some
   kernels compute.
3. *Model* FLOPs are what the mathematics of a step needs; what gradient checkpointing computes
   again is counted apart (*hardware* FLOPs have both). Utilization, MFU, is by model FLOPs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repic.models.costs.sizes import is_qwen, language, num_adapter_parameters, patch_values

# A picture in patches: (time, rows, columns), as in the processor's ``image_grid_thw``.
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Work:
    """What goes through the language model.

    Args:
        tokens: through its layers.
        pairs: of a query and a key that it may see, in one head of one layer.
        predicted: positions at which the head is applied.
    """

    tokens: int
    pairs: int
    predicted: int

    def times(self, number: int) -> "Work":
        """Return the work of so many of it."""
        return Work(self.tokens * number, self.pairs * number, self.predicted * number)


def causal_pairs(tokens: int, past: int = 0) -> int:
    """Count pairs where each token sees all past ones, its predecessors and itself.

    ``tokens * past + tokens * (tokens + 1) / 2``.

    Example:
        >>> causal_pairs(3), causal_pairs(2, past=10)
        (6, 23)
    """
    return tokens * past + tokens * (tokens + 1) // 2


def language_flops(config: Any, work: Work) -> int:
    """Forward through all layers, without head and adapters.

    ``layers * (2 * tokens * sum(inputs * outputs) + 4 * pairs * heads * head_dim)``: the seven
    projections, then scores and weighted sum.
    """
    lm = language(config)
    matrices = sum(n * m for n, m in lm.projections)
    return lm.layers * (2 * work.tokens * matrices + 4 * work.pairs * lm.query)


def attention_flops(config: Any, pairs: int) -> int:
    """The part of ``language_flops`` that has no weights: ``4 * layers * pairs * query size``."""
    return language_flops(config, Work(0, pairs, 0))


def adapter_flops(config: Any, tokens: int, rank: int) -> int:
    """Forward through the adapters' two matrices: ``2 * tokens * rank * sum(inputs + outputs)``."""
    return 2 * tokens * num_adapter_parameters(config, rank)


def head_flops(config: Any, predicted: int) -> int:
    """Forward through the head: ``2 * predicted * hidden * vocabulary``."""
    lm = language(config)
    return 2 * predicted * lm.hidden * lm.vocabulary


def forward_flops(config: Any, work: Work, *, lora_rank: int | None) -> int:
    """Layers, adapters if any, and head."""
    adapters = adapter_flops(config, work.tokens, lora_rank or 0)
    return language_flops(config, work) + adapters + head_flops(config, work.predicted)


def backward_flops(config: Any, work: Work, *, lora_rank: int | None) -> int:
    """Backward through layers, adapters and head.

    A trained matrix costs two forwards: gradients of its input and of itself. A frozen one, under
    adapters, costs one. Attention costs two either way, as both of its factors are activations.

    Counted though autograd may skip it: the gradient that the first layer's q, k and v send to
    frozen embeddings. Not counted: scores that a flash kernel computes again.
    """
    adapters = adapter_flops(config, work.tokens, lora_rank or 0)
    attention = attention_flops(config, work.pairs)
    frozen = forward_flops(config, work, lora_rank=None) - attention
    return (1 if lora_rank else 2) * frozen + 2 * attention + 2 * adapters


def recomputed_flops(config: Any, work: Work, *, lora_rank: int | None) -> int:
    """What gradient checkpointing of every layer computes again: the layers and their adapters.

    Torch stops at the last value that the backward pass needs, so it spares each layer's very last
    matrix; that is not taken off.
    """
    adapters = adapter_flops(config, work.tokens, lora_rank or 0)
    return language_flops(config, work) + adapters


def image_tokens(config: Any, image: Grid) -> int:
    """Count what the language model sees of a picture."""
    patches = image[0] * image[1] * image[2]
    if is_qwen(config):
        return patches // config.vision_config.spatial_merge_size**2
    return patches + (config.vision_feature_select_strategy == "full")


def vision_flops(config: Any, images: Sequence[Grid]) -> int:
    """Forward through vision tower and projector, once for each picture.

    The tower is frozen, as in both papers, so it has no backward.

    Args:
        images: their sizes in patches; for CLIP always (1, 24, 24) or what the tower takes.
    """
    count = _qwen_vision if is_qwen(config) else _clip_vision
    return sum(count(config, image) for image in images)


def _qwen_vision(config: Any, image: Grid) -> int:
    """Patch embedding, layers with windows or without, and the merger of 2 × 2 patches.

    With n patches: ``2 n D patch`` + layers ``2 n (4 D² + 3 D I) + 4 pairs D`` + merger
    ``2 (n / m²) ((m² D)² + m² D H)``.
    """
    vision = config.vision_config
    patches = image[0] * image[1] * image[2]
    dim, merged = vision.hidden_size, vision.hidden_size * vision.spatial_merge_size**2
    full = len(set(vision.fullatt_block_indexes) & set(range(vision.depth)))
    pairs = full * image[0] * (image[1] * image[2]) ** 2
    pairs += (vision.depth - full) * window_pairs(config, image)
    matrices = vision.depth * (4 * dim * dim + 3 * dim * vision.intermediate_size)
    matrices += patch_values(config) * dim
    merger = image_tokens(config, image) * (merged * merged + merged * vision.out_hidden_size)
    return 2 * patches * matrices + 4 * pairs * dim + 2 * merger


def window_pairs(config: Any, image: Grid) -> int:
    """Pairs inside the windows of one of Qwen2.5-VL's windowed layers.

    Windows tile the merged picture from the upper left corner; those at the right and lower edges
    hold what is left. Of windows with a × b merged patches: ``sum (m² a b)²``, a product of sums.
    """
    vision = config.vision_config
    merge = vision.spatial_merge_size
    side = vision.window_size // merge // vision.patch_size

    def squares(length: int) -> int:
        whole, rest = divmod(length // merge, side)
        return whole * side**2 + rest**2

    return image[0] * merge**4 * squares(image[1]) * squares(image[2])


def _clip_vision(config: Any, image: Grid) -> int:
    """Patch embedding, the layers up to the one whose features are used, and the projector.

    With s = patches + 1 places: ``2 n D patch`` + layers ``2 s (4 D² + 2 D I) + 4 s² D`` +
    projector ``2 tokens (D H + H²)``. The library runs the unused last layer as well.
    """
    vision, hidden = config.vision_config, language(config).hidden
    side = vision.image_size // vision.patch_size
    if image != (1, side, side):
        raise ValueError(f"this tower takes pictures of {(1, side, side)} patches, not {image}")
    dim, places = vision.hidden_size, side * side + 1
    # Of the states, number 0 is what enters the first layer.
    used = config.vision_feature_layer % (vision.num_hidden_layers + 1)
    layer = 2 * places * (4 * dim * dim + 2 * dim * vision.intermediate_size)
    layer += 4 * places * places * dim
    patches = 2 * side * side * patch_values(config) * dim
    projector = 2 * image_tokens(config, image) * (dim * hidden + hidden * hidden)
    return patches + used * layer + projector
