"""Small random models on disk, laid out as the hub lays out the real ones."""

import copy
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from repic.models.engine.packed import PackedEngine
from repic.models.engine.sampling import Sampling
from repic.models.loading import load_policy
from repic.models.policy import Policy
from repic.types import Example

# Each configuration that is read is spelled out for a log that is off: as long as its reading.
PreTrainedConfig.__repr__ = object.__repr__

QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"]
QWEN_SPECIAL += ["<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
QWEN_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% endif %}"
)
LLAVA_CHAT = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for c in m['content'] if c['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_LOADED: dict[str, Policy] = {}
_BUILT: list[TemporaryDirectory] = []  # removed when the tests end
CORPUS = ["a red striped bear with a blue hat, <momi>, sits on the left", "Who is in the picture?"]
CORPUS += ["Name: <bo>. Info: a green cat. yes no left right middle and on the right"]


@dataclass(frozen=True)
class Prompt:
    """References as pictures with names, then the picture asked about and the question."""

    def messages(self, example: Example) -> list[dict]:
        content = []
        for reference in example.references:
            if reference.image is not None:
                content.append({"type": "image", "image": reference.image})
            content.append({"type": "text", "text": f"Name: {reference.name} "})
        if example.query is not None:
            content.append({"type": "image", "image": example.query})
        content.append({"type": "text", "text": example.question})
        return [{"role": "user", "content": content}]


SETTINGS = {
    "dtype": "float32",
    "attention": "auto",
    "lora": None,
    "train_vision": False,
    "gradient_checkpointing": False,
    "min_pixels": None,
    "max_pixels": None,
    "export": "merged",
    "prompt": Prompt(),
}


def bpe_tokenizer(special: list[str], *, vocab_size: int = 384) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 20, trainer)
    return tokenizer


def built_once(build: Callable[..., Path]) -> Callable[..., Path]:
    """Copy the directory that was written before in the same way; drawing it takes longer."""

    @cache
    def original(**changes: Any) -> Path:
        _BUILT.append(TemporaryDirectory())
        return build(Path(_BUILT[-1].name), **changes)

    @wraps(build)
    def copied(folder: Path, **changes: Any) -> Path:
        return shutil.copytree(original(**changes), folder, dirs_exist_ok=True)

    return copied


@built_once
def build_qwen(folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """Write a Qwen2.5-VL directory with hidden size 32."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe_tokenizer(QWEN_SPECIAL),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=QWEN_SPECIAL[1:],
        padding_side="left",
    )
    tokenizer.chat_template = QWEN_CHAT
    ids = dict(zip(QWEN_SPECIAL, tokenizer.convert_tokens_to_ids(QWEN_SPECIAL), strict=True))
    text = dict(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        initializer_range=0.2,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
    vision = dict(
        depth=2,
        hidden_size=32,
        intermediate_size=48,
        num_heads=2,
        out_hidden_size=32,
        patch_size=7,
        spatial_merge_size=2,
        window_size=28,
        fullatt_block_indexes=[1],
        initializer_range=0.2,
    )
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    _save(folder, Qwen2_5_VLForConditionalGeneration, config, tokenizer, seed)
    Qwen2VLImageProcessorPil(
        patch_size=7, size={"shortest_edge": 14 * 14, "longest_edge": 56 * 56}
    ).save_pretrained(folder)
    return folder


@built_once
def build_llava(folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """Write a LLaVA-1.5 directory with hidden size 32 and pictures of 4 patches."""
    special = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
    backend = bpe_tokenizer(special)
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
        padding_side="left",
    )
    text = dict(
        model_type="llama",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=4,
    )
    vision = dict(
        model_type="clip_vision_model",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=32,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3)
    _save(folder, LlavaForConditionalGeneration, config, tokenizer, seed)
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=LLAVA_CHAT,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def _save(
    folder: Path,
    model_class: type[PreTrainedModel],
    config: Qwen2_5_VLConfig | LlavaConfig,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def rewrite_json(path: Path, **values: object) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}, indent=2))


def load(folder: Path, **changes: Any) -> Policy:
    """Load a policy with all weights of the language model trained, unless told otherwise.

    What was loaded before, in the same way and from the same files, is copied.
    """
    settings = {**SETTINGS, **changes}
    files = [
        (f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(Path(folder).glob("*"))
    ]
    key = repr((folder, files, sorted(settings.items())))
    if key not in _LOADED:
        with torch.random.fork_rng():  # adapters are the same whenever a test asks for them
            torch.manual_seed(0)
            _LOADED[key] = load_policy(str(folder), **settings)
    return deepcopy(_LOADED[key])


def _copy_ordered(original: OrderedDict, memo: dict[int, Any]) -> OrderedDict:
    copied = memo[id(original)] = OrderedDict()
    for key, value in original.items():
        copied[deepcopy(key, memo)] = deepcopy(value, memo)
    return copied


# A small model is mostly dictionaries and sets for hooks that nobody has registered.
copy._deepcopy_dispatch[OrderedDict] = _copy_ordered
copy._deepcopy_dispatch[set] = lambda original, memo: {deepcopy(x, memo) for x in original}


def packed_engine() -> PackedEngine:
    return PackedEngine(feature_cache=8, cuda_graphs=False)


def sampling(**changes: object) -> Sampling:
    """Draw from the whole distribution, unless told otherwise."""
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "stop": ()}
    return Sampling(**{**plain, "max_new_tokens": 8, **changes})
