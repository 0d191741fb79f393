"""The library's own processors, without the part for videos, which needs torchvision."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    Gemma3Processor,
    Idefics3Processor,
    LlavaProcessor,
    Qwen2_5_VLProcessor,
)
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.processing_utils import ProcessorMixin

from repic.models.chat_template import read_chat_template
from repic.types import Example
from tests import tiny

# With what the processors' files say of the small models.
PROCESSORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "qwen2_5_vl": (Qwen2_5_VLProcessor, {}),
    "qwen3_vl": (Qwen3VLProcessor, {}),
    "llava": (
        LlavaProcessor,
        {
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    ),
    "llava_onevision": (
        LlavaOnevisionProcessor,
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    ),
    # SmolVLM's own wants num2words for videos; on pictures it writes what this one does.
    "smolvlm": (Idefics3Processor, {"image_seq_len": 4}),
    "idefics3": (Idefics3Processor, {"image_seq_len": 4}),
    "internvl": (InternVLProcessor, {"image_seq_length": 4}),
    "gemma3": (Gemma3Processor, {"image_seq_length": 4}),
}


def processor(folder: Path) -> Any:
    """Put a processor together from the parts in a model's directory."""
    base, settings = PROCESSORS[json.loads((folder / "config.json").read_text())["model_type"]]
    original = ProcessorMixin.__init__

    class ImageOnly(base):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

    def without_videos(
        self: Any, image_processor: Any, tokenizer: Any, *_: Any, chat_template: Any, **__: Any
    ) -> None:
        original(self, image_processor, tokenizer, chat_template=chat_template)

    tokenizer = AutoTokenizer.from_pretrained(folder)
    images = AutoImageProcessor.from_pretrained(folder, backend="pil")
    template = read_chat_template(folder) or tokenizer.chat_template
    try:
        ProcessorMixin.__init__ = without_videos
        return ImageOnly(
            image_processor=images, tokenizer=tokenizer, chat_template=template, **settings
        )
    finally:
        ProcessorMixin.__init__ = original


def inputs(folder: Path, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Encode prompts with the library's own processor."""
    made = processor(folder)
    texts = [
        made.apply_chat_template(
            tiny.Prompt().messages(one), add_generation_prompt=True, tokenize=False
        )
        for one in examples
    ]
    images = [[image.load() for image in one.images] for one in examples if one.images]
    padding = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    return dict(made(text=texts, images=images or None, **padding))
