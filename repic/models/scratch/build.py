"""Build a small Qwen2.5-VL from nothing: a Hugging Face directory like any other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from annotated_types import Gt, Le, Predicate
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from repic.models.scratch.initialization import initialize_for_lookup
from repic.models.scratch.tokenizer import build_tokenizer
from repic.models.side_files import write_json
from repic.toybox.vocabulary import words
from repic.toybox.world import SYLLABLES
from repic.values import Area, Count, Positive, Seed, Whole, is_range

# OpenAI CLIP's, which Qwen2.5-VL uses.
IMAGE_MEAN = [0.48145466, 0.4578275, 0.40821073]
IMAGE_STD = [0.26862954, 0.26130258, 0.27577711]


class TextSizes(TypedDict):
    """Of the language model; as many keys and values as heads, where they are not said."""

    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: NotRequired[Count]
    rope_theta: Positive
    mrope_section: tuple[Whole, Whole, Whole]
    max_position_embeddings: Count


class VisionSizes(TypedDict):
    """Of the vision tower; the last two where not every layer looks at a whole picture."""

    depth: Count
    hidden_size: Count
    intermediate_size: Count
    num_heads: Count
    patch_size: Count
    temporal_patch_size: Count
    window_size: NotRequired[Count]
    fullatt_block_indexes: NotRequired[Sequence[Whole]]


def build_directory(
    *,
    folder: Path,
    seed: Seed,
    text: TextSizes,
    vision: VisionSizes,
    pixels: Annotated[Sequence[Area], Predicate(is_range)],
    matching_layers: Sequence[Whole],
    initializer_range: Annotated[float, Gt(0), Le(1)],
) -> None:
    """Write tokenizer, image processor, configuration and random weights.

    Args:
        folder: is made.
        seed: of the weights.
        text: of the language model.
        vision: of the vision tower.
        pixels: smallest and largest area of a picture; others are resized into that range.
        matching_layers: see ``initialize_for_lookup``; none leaves the language model's weights
            random.
        initializer_range: std of random weights.

    Raises:
        ValueError: there is no model of such sizes.
    """
    _refuse_sizes(text, vision, matching_layers)
    tokenizer = build_tokenizer(SYLLABLES, words())
    config = _configuration(tokenizer, text, vision, initializer_range)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    if matching_layers:
        initialize_for_lookup(model, matching_layers=matching_layers, seed=seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_processor(Path(folder), vision, pixels)


def _refuse_sizes(text: TextSizes, vision: VisionSizes, matching_layers: Sequence[int]) -> None:
    """Raise for sizes that no model has: the library would do so in its passes."""
    heads, layers = text["num_attention_heads"], text["num_hidden_layers"]
    wrong = {
        "text.hidden_size is no multiple of text.num_attention_heads": text["hidden_size"] % heads,
        "text.num_attention_heads is no multiple of text.num_key_value_heads": (
            heads % text.get("num_key_value_heads", heads)
        ),
        "text.mrope_section is not half of text.hidden_size / text.num_attention_heads in all": (
            2 * sum(text["mrope_section"]) * heads != text["hidden_size"]
        ),
        "vision.hidden_size is no multiple of 4 vision.num_heads": (
            vision["hidden_size"] % (4 * vision["num_heads"])
        ),
        "vision.fullatt_block_indexes names a layer that is not there": (
            max(vision.get("fullatt_block_indexes", [0]), default=0) >= vision["depth"]
        ),
        "matching_layers names a layer that is not there": (
            max(matching_layers, default=0) >= layers
        ),
    }
    for what in (what for what, is_wrong in wrong.items() if is_wrong):
        raise ValueError(what)


def _configuration(
    tokenizer: Any, text: Mapping[str, Any], vision: Mapping[str, Any], initializer_range: float
) -> Qwen2_5_VLConfig:
    """What ``config.json`` says; see ``build_directory``."""
    token_id: Any = tokenizer.convert_tokens_to_ids
    text = dict(text)
    rope = {
        "rope_type": "default",
        "rope_theta": text.pop("rope_theta"),
        "mrope_section": list(text.pop("mrope_section")),
    }
    return Qwen2_5_VLConfig(
        text_config={
            "num_key_value_heads": text["num_attention_heads"],
            **text,
            "vocab_size": len(tokenizer) + -len(tokenizer) % 8,
            "rope_parameters": rope,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": False,
            "initializer_range": initializer_range,
        },
        vision_config={
            "out_hidden_size": text["hidden_size"],
            "spatial_merge_size": 2,
            "tokens_per_second": 2,
            # Pictures are so small that every layer looks at a whole one.
            "window_size": 64 * vision["patch_size"],
            "fullatt_block_indexes": list(range(vision["depth"])),
            "initializer_range": initializer_range,
            **vision,
        },
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def _write_processor(folder: Path, vision: Mapping[str, Any], pixels: Sequence[int]) -> None:
    """The image processor's settings, in the file where Qwen2.5-VL has them."""
    settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "size": {"shortest_edge": pixels[0], "longest_edge": pixels[1]},
        "patch_size": vision["patch_size"],
        "temporal_patch_size": vision["temporal_patch_size"],
        "merge_size": 2,
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
    }
    write_json(folder / "preprocessor_config.json", settings)
