"""Dimensions and numbers of weights, read from a Hugging Face configuration.

For Qwen2.5-VL (https://arxiv.org/abs/2502.13923) and LLaVA-1.5 (https://arxiv.org/abs/2310.03744)
as the transformers library builds them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Language:
    """A language model of gated MLPs and grouped-query attention; all sizes in numbers of values.

    Args:
        heads, kv_heads: heads of queries, and of keys and values.
        has_bias: queries, keys and values have one.
        is_tied: the head's weights are the embeddings.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    has_bias: bool
    is_tied: bool

    @property
    def query(self) -> int:
        """Size of a token's queries in one layer."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Size of a token's keys in one layer, and of its values."""
        return self.kv_heads * self.head_dim

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's matrices: q, k, v, o, gate, up, down.

        These are the ones that ``load_policy`` puts adapters on.
        """
        hidden, wide = self.hidden, self.intermediate
        attention = ((hidden, self.query), (hidden, self.key), (hidden, self.key))
        mlp = ((hidden, wide), (hidden, wide), (wide, hidden))
        return (*attention, (self.query, hidden), *mlp)


class Parameters(NamedTuple):
    """Numbers of weights; ``head`` is 0 where it is tied to the embeddings."""

    vision: int
    layers: int
    embeddings: int
    head: int

    @property
    def language(self) -> int:
        """All but the vision tower and its projector."""
        return self.layers + self.embeddings + self.head

    @property
    def total(self) -> int:
        """All weights."""
        return self.vision + self.language


def is_qwen(config: Any) -> bool:
    """Whether it is Qwen2.5-VL; LLaVA otherwise, and a ValueError where it is neither."""
    if config.model_type not in ("qwen2_5_vl", "llava"):
        raise ValueError(f"no costs are known of the architecture {config.model_type!r}")
    return config.model_type == "qwen2_5_vl"


def language(config: Any) -> Language:
    """Read the language model's dimensions."""
    text = config.get_text_config()
    return Language(
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
        has_bias=is_qwen(config),
        is_tied=config.tie_word_embeddings,
    )


def num_parameters(config: Any) -> Parameters:
    """Count a model's weights, without adapters."""
    lm = language(config)
    layer = sum(n * m for n, m in lm.projections) + 2 * lm.hidden  # two norms
    layer += (lm.query + 2 * lm.key) * lm.has_bias
    embeddings = lm.vocabulary * lm.hidden
    return Parameters(
        vision=_qwen_vision(config) if is_qwen(config) else _clip_vision(config),
        layers=lm.layers * layer + lm.hidden,  # and the last norm
        embeddings=embeddings,
        head=0 if lm.is_tied else embeddings,
    )


def num_adapter_parameters(config: Any, rank: int) -> int:
    """Count the weights of low-rank adapters on every projection of the language model.

    LoRA, https://arxiv.org/abs/2106.09685: ``rank * (inputs + outputs)`` a matrix.
    """
    lm = language(config)
    return lm.layers * sum(rank * (n + m) for n, m in lm.projections)


def patch_values(config: Any) -> int:
    """Numbers in one patch of pixels, as the vision tower takes it."""
    vision = config.vision_config
    if is_qwen(config):
        return vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return vision.num_channels * vision.patch_size**2


def _qwen_vision(config: Any) -> int:
    vision = config.vision_config
    dim, wide = vision.hidden_size, vision.intermediate_size
    merged = dim * vision.spatial_merge_size**2
    attention = 4 * dim * dim + 4 * dim
    mlp = 3 * dim * wide + 2 * wide + dim
    merger = dim + (merged + 1) * merged + (merged + 1) * vision.out_hidden_size
    return patch_values(config) * dim + vision.depth * (attention + mlp + 2 * dim) + merger


def _clip_vision(config: Any) -> int:
    vision, hidden = config.vision_config, language(config).hidden
    dim, wide = vision.hidden_size, vision.intermediate_size
    places = (vision.image_size // vision.patch_size) ** 2 + 1  # and the class token
    attention = 4 * dim * dim + 4 * dim
    mlp = 2 * dim * wide + wide + dim
    embeddings = patch_values(config) * dim + dim + places * dim
    norms = 4 * dim  # before and after the layers
    projector = (dim + 1) * hidden + (hidden + 1) * hidden
    layers = vision.num_hidden_layers * (attention + mlp + 4 * dim)
    return embeddings + norms + layers + projector
