"""Small random models of further families on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from tests import tiny
from tests.fakes import Noise, example

IDS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
LANGUAGE = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=2048,
    initializer_range=0.2,
    **IDS,
)
TOWER = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    initializer_range=0.2,
)


def chat_template(image: str) -> str:
    return tiny.QWEN_CHAT.replace("<|vision_start|><|image_pad|><|vision_end|>", image)


def make_tokenizer(
    special: Sequence[str], chat: str, named: dict[str, str]
) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny.bpe_tokenizer(
            ["<pad>", "<bos>", "<end>", "<|im_start|>", "<|im_end|>", *special]
        ),
        bos_token="<bos>",
        eos_token="<end>",
        pad_token="<pad>",
        extra_special_tokens=named or list(special),
        padding_side="left",
    )
    tokenizer.chat_template = chat
    return tokenizer


def write_model(
    folder: Path,
    name: str,
    tokenizer: PreTrainedTokenizerFast,
    images: Any,
    text: dict[str, Any],
    vision: dict[str, Any],
    **others: Any,
) -> Path:
    config = getattr(transformers, f"{name}Config")(
        text_config={**LANGUAGE, "vocab_size": len(tokenizer), **text},
        vision_config={**TOWER, **vision},
        tie_word_embeddings=False,
        **others,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
        for parameter in model.parameters():  # what starts at zero hides mistakes
            if parameter.dim() > 1 and not parameter.any():
                parameter.data.normal_(std=0.2)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images.save_pretrained(folder)
    return folder


@tiny.built_once
def build_qwen3_vl(folder: Path) -> Path:
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = make_tokenizer(special, tiny.QWEN_CHAT, {})
    start, end, image, video = tokenizer.convert_tokens_to_ids(special)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]}
    return write_model(
        folder,
        "Qwen3VL",
        tokenizer,
        transformers.Qwen2VLImageProcessorPil(
            patch_size=7, size={"shortest_edge": 14 * 14, "longest_edge": 56 * 56}
        ),
        dict(head_dim=16, rope_parameters={**rope, "mrope_interleaved": True}),
        dict(
            depth=3,
            num_heads=2,
            out_hidden_size=32,
            patch_size=7,
            spatial_merge_size=2,
            num_position_embeddings=16,
            deepstack_visual_indexes=[0, 1],
        ),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )


@tiny.built_once
def build_llava_onevision(folder: Path) -> Path:
    tokenizer = make_tokenizer(["<image>", "<video>"], chat_template("<image>\n"), {})
    pinpoints = [[28, 28], [28, 56], [56, 28], [56, 56], [28, 84]]
    return write_model(
        folder,
        "LlavaOnevision",
        tokenizer,
        transformers.LlavaOnevisionImageProcessorPil(
            size={"height": 28, "width": 28}, image_grid_pinpoints=pinpoints
        ),
        dict(model_type="qwen2"),
        dict(model_type="siglip_vision_model", image_size=28, patch_size=7, vision_use_head=False),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )


@tiny.built_once
def build_smolvlm(folder: Path, name: str = "SmolVLM") -> Path:
    cells = [f"<row_{i}_col_{j}>" for i in range(1, 4) for j in range(1, 4)]
    special = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", *cells]
    tokenizer = make_tokenizer(special, chat_template("<image>"), {})
    return write_model(
        folder,
        name,
        tokenizer,
        getattr(transformers, f"{name}ImageProcessorPil")(
            size={"longest_edge": 84}, max_image_size={"longest_edge": 28}
        ),
        dict(model_type="llama"),
        dict(image_size=28, patch_size=7),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )


@tiny.built_once
def build_idefics3(folder: Path) -> Path:
    return build_smolvlm(folder, name="Idefics3")


@tiny.built_once
def build_internvl(folder: Path) -> Path:
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = make_tokenizer(list(named.values()), chat_template("<IMG_CONTEXT>\n"), named)
    return write_model(
        folder,
        "InternVL",
        tokenizer,
        transformers.GotOcr2ImageProcessorPil(
            size={"height": 28, "width": 28}, min_patches=1, max_patches=4
        ),
        dict(model_type="qwen2"),
        dict(image_size=28, patch_size=7, layer_scale_init_value=1.0),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )


@tiny.built_once
def build_gemma3(folder: Path) -> Path:
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    named["image_token"] = "<image_soft_token>"
    tokenizer = make_tokenizer(list(named.values()), chat_template("<start_of_image>"), named)
    boi, eoi, image = tokenizer.convert_tokens_to_ids(list(named.values()))
    return write_model(
        folder,
        "Gemma3",
        tokenizer,
        transformers.Gemma3ImageProcessorPil(size={"height": 28, "width": 28}),
        dict(
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        dict(model_type="siglip_vision_model", image_size=28, patch_size=7, vision_use_head=False),
        mm_tokens_per_image=4,
        boi_token_index=boi,
        eoi_token_index=eoi,
        image_token_index=image,
    )


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": tiny.build_qwen,
    "qwen3_vl": build_qwen3_vl,
    "llava": tiny.build_llava,
    "llava_onevision": build_llava_onevision,
    "smolvlm": build_smolvlm,
    "idefics3": build_idefics3,
    "internvl": build_internvl,
    "gemma3": build_gemma3,
}


# Prompts with several pictures, one, and none; some are split into tiles.
EXAMPLES = [
    example("two", [Noise(1, 30, 30), Noise(2, 84, 28)], Noise(3, 42, 56)),
    example("text", question="red or blue?"),
    example("one", [None], Noise(4, 60, 30), "Who?"),
]
