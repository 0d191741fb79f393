"""Load a policy from a directory in Hugging Face's layout, or from the hub."""

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForImageTextToText
from transformers.utils import logging
from transformers.utils.import_utils import is_flash_attn_2_available

from repic.models.directory import find_model, fingerprint
from repic.models.encoder import Prompt, PromptEncoder
from repic.models.policy import Policy, is_language
from repic.models.vision import batch_vision_attention

__all__ = ["disable_progress_bars", "fingerprint", "load_policy"]

# Every projection of the language model's layers. Plain names would reach the vision tower too.
LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_ATTENTION = ("auto", "sdpa", "eager", "flash_attention_2")


def load_policy(
    path: str,
    *,
    dtype: str,
    attention: str,
    lora: Mapping[str, float | int] | None,
    train_vision: bool,
    gradient_checkpointing: bool,
    min_pixels: int | None,
    max_pixels: int | None,
    prompt: Prompt,
) -> Policy:
    """Load a vision-language model, ready to train, on the CPU.

    Args:
        path: a directory, ``package://<package>/<folder>``, or an id on the hub.
        dtype: "float32", "bfloat16" or "float16".
        attention: "auto" takes flash attention where a GPU, half precision and the package are
            there, and SDPA otherwise; or "sdpa", "eager", "flash_attention_2".
        lora: ``r``, ``alpha`` and ``dropout`` of adapters on the language model; None trains its
            weights.
        train_vision: also train the vision tower and its projector.
        gradient_checkpointing: recompute activations in the backward pass.
        min_pixels: smaller pictures are enlarged to this area; None: as the directory says.
        max_pixels: larger pictures are shrunk to this area; None: as the directory says.
        prompt: words examples as chat messages.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"model.dtype: {dtype!r} is not one of {', '.join(_DTYPES)}")
    folder = find_model(path)
    encoder = PromptEncoder(
        str(folder), prompt=prompt, min_pixels=min_pixels, max_pixels=max_pixels
    )
    model: Any = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=_DTYPES[dtype],
        attn_implementation=choose_attention(attention, _DTYPES[dtype]),
    )
    batch_vision_attention(model)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return Policy(
        _make_trainable(model, lora=lora, train_vision=train_vision),
        encoder,
        source=folder,
        fingerprint=fingerprint(folder),
        stop_ids=_stop_ids(model, encoder),
    ).eval()


def disable_progress_bars() -> None:
    """Reading and writing weights shows no bar; a download still does, since it may take long."""
    shown = not are_progress_bars_disabled()
    logging.disable_progress_bar()
    if shown:
        enable_progress_bars()  # the hub's, which the line above switches off as well


def choose_attention(attention: str, dtype: torch.dtype) -> str:
    """Return the library's name of the attention to use; see ``load_policy``."""
    if attention not in _ATTENTION:
        raise ValueError(f"model.attention: {attention!r} is not one of {', '.join(_ATTENTION)}")
    # The library does not fall back by itself.
    has_flash = torch.cuda.is_available() and is_flash_attn_2_available()
    is_half = dtype in (torch.float16, torch.bfloat16)
    if attention == "auto":
        return "flash_attention_2" if has_flash and is_half else "sdpa"
    if attention == "flash_attention_2" and not (has_flash and is_half):
        raise ValueError(
            "model.attention=flash_attention_2 needs a GPU, half precision and the flash-attn"
            " package (pip install --no-build-isolation -e '.[flash]'); auto does without"
        )
    return attention


def _make_trainable(
    model: Any, *, lora: Mapping[str, float | int] | None, train_vision: bool
) -> nn.Module:
    """Mark what is trained; all that is neither language model nor head counts as vision."""
    model.requires_grad_(False)
    if lora is not None:
        model = _add_adapters(model, lora)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        if lora is None if is_language(name) else train_vision:
            parameter.requires_grad = True
    return model


def _add_adapters(model: Any, lora: Mapping[str, float | int]) -> nn.Module:
    if set(lora) != {"r", "alpha", "dropout"}:
        raise ValueError(f"model.lora takes r, alpha and dropout, not {', '.join(lora)}")
    config = LoraConfig(
        r=int(lora["r"]),
        lora_alpha=int(lora["alpha"]),
        lora_dropout=lora["dropout"],
        target_modules=LORA_TARGETS,
    )
    return get_peft_model(model, config)


def _stop_ids(model: Any, encoder: PromptEncoder) -> tuple[int, ...]:
    """List the tokens that end a completion: the tokenizer's and the model's own."""
    listed = model.generation_config.eos_token_id
    listed = listed if isinstance(listed, list) else [listed]
    return tuple(sorted({encoder.end_id, *(i for i in listed if i is not None)}))
