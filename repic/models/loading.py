"""Load a policy from a directory in Hugging Face's layout, or from the hub."""

import gc
import logging
import re
import time
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import torch
from annotated_types import Predicate
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as library_logging
from transformers.utils.import_utils import is_flash_attn_2_available

from repic.files import shown
from repic.models.deferred import DeferredWeight, Deferring, is_deferring
from repic.models.directory import (
    ADAPTER,
    ADAPTER_CONFIG,
    find_base,
    find_model,
    is_adapter,
    is_on_hub,
    read_header,
    refuse_integers,
)
from repic.models.encoder import Prompt, PromptEncoder
from repic.models.families import Family
from repic.models.policy import Policy
from repic.values import Area, Count, Positive, ShareBelow1, Text
from repic.weights import few, load_whole, naming, refuse_not_finite

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_LARGE = 2**30  # bytes that take a while to be read


class Adapters(TypedDict):
    """LoRA: rank, scale of what is added (alpha / r), and dropout before it."""

    r: Count
    alpha: Positive
    dropout: ShareBelow1


def load_policy(
    path: Text,
    *,
    dtype: Annotated[str, Predicate(_DTYPES.__contains__)],
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"],
    lora: Adapters | None,
    train_vision: bool,
    export: Literal["adapter", "merged", "merged_float32"],
    gradient_checkpointing: bool,
    min_pixels: Area | None,
    max_pixels: Area | None,
    prompt: Prompt,
) -> Policy:
    """Load a vision-language model, ready to train, on the CPU.

    Args:
        path: a directory, ``package://<package>/<folder>``, or an id on the hub. A directory of
            adapters alone stands for the model that it names with the adapters merged.
        dtype: "float32", "bfloat16" or "float16".
        attention: "auto" takes flash attention where a GPU, half precision and the package are
            there, and SDPA otherwise; or "sdpa", "eager", "flash_attention_2".
        lora: ``r``, ``alpha`` and ``dropout`` of adapters on the language model; None trains its
            weights.
        train_vision: also train the vision tower and its projector.
        export: what a trained model's directory holds: "adapter" for the adapters alone, "merged"
            for all weights in the model's precision, "merged_float32" for the sum as it was made.
            Without adapters the last two are the same.
        gradient_checkpointing: recompute activations in the backward pass.
        min_pixels: smaller pictures are enlarged to this area; None: as the directory says.
        max_pixels: larger pictures are shrunk to this area; None: as the directory says.
        prompt: words examples as chat messages.
    """
    if export == "adapter" and (lora is None or train_vision):
        raise ValueError(
            "model.export=adapter leaves out weights that are trained themselves: it needs"
            " model.lora and model.train_vision=false; or use model.export=merged"
        )
    folder = find_model(path)
    with naming(folder):
        encoder = PromptEncoder(
            str(folder), prompt=prompt, min_pixels=min_pixels, max_pixels=max_pixels
        )
    model = load_network(
        folder, dtype=_DTYPES[dtype], attention=choose_attention(attention, _DTYPES[dtype])
    )
    if not is_adapter(folder):
        model.name_or_path = path if is_on_hub(path) else str(folder.absolute())
    family = encoder.family
    if family.unpackable is not None:
        _say_once(
            f"{path} ({model.config.model_type}): {family.unpackable}; so every caption is a row of"
            " its own that goes through the library's whole forward pass, whatever the engine"
        )
    if family.quicken is not None:
        family.quicken(model)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return Policy(
        make_trainable(model, family, lora=lora, train_vision=train_vision),
        encoder,
        source=folder,
        stop_ids=_stop_ids(model, encoder, folder),
        export=export,
    ).eval()


def load_network(folder: Path, *, dtype: torch.dtype, attention: str) -> Any:
    """Load the weights of a directory, with adapters merged in float32 if it holds such.

    Raises:
        ValueError: a weight is missing, and would be drawn at random; has no place in the model, or
            another shape; or is no number.
    """
    base = find_base(folder) if is_adapter(folder) else folder
    size, begun = sum(file.stat().st_size for file in base.glob("*.safetensors")), time.monotonic()
    if size > _LARGE:
        gc.collect()  # an earlier phase's model may lie in a cycle of references
        log.info("%s: reading %.1f GB of weights", folder, size / 1e9)
    # Pickled weights, which the library would take where there are no others, are not hashed.
    model = load_whole(
        Deferring if is_deferring() else AutoModelForImageTextToText,
        base,
        dtype=dtype,
        attn_implementation=attention,
        use_safetensors=True,
    )
    refuse_integers(base, model)
    model.name_or_path = str(base)
    if is_adapter(folder):
        merge_adapters(model, folder)
    if size > _LARGE:
        millions = sum(weight.numel() for weight in model.parameters()) / 1e6
        seconds = time.monotonic() - begun
        log.info("%s: %.0f million weights, read in %.0f s", folder, millions, seconds)
    return model


def adapted_layers(network: nn.Module) -> dict[str, LoraLayer]:
    """List the layers that have adapters, by the name of the weight that these are added to."""
    return {
        f"{name}.weight": module
        for name, module in network.named_modules()
        if isinstance(module, LoraLayer)
    }


def adapter_of(layer: Any) -> tuple[Tensor, Tensor, float]:
    """Return the two matrices that a layer's active adapter multiplies, and their scale."""
    (adapter,) = layer.active_adapters
    return layer.lora_A[adapter].weight, layer.lora_B[adapter].weight, layer.scaling[adapter]


@torch.no_grad()
def adapter_delta(down: Tensor, up: Tensor, scale: float) -> Tensor:
    """Return what an adapter adds to a layer's weight, in float32 and on the CPU.

    One at a time: those of all layers would be a second model, of twice the size in half precision.
    """
    return up.float().cpu() @ down.float().cpu() * scale


def merge_adapters(model: Any, folder: Path) -> None:
    """Add a directory's adapters to the weights, rounding once; to deferred ones when read."""
    file = folder / ADAPTER
    tensors = read_header(file).tensors
    if others := sorted(t for t in tensors if not re.search(r"\.lora_[AB]\.weight$", t)):
        raise ValueError(f"{file}: holds more than low-rank adapters ({few(others)})")
    refuse_integers(folder, model)
    with naming(folder):
        adapted = PeftModel.from_pretrained(model, str(folder))
    listed: Mapping[str, Tensor] = get_peft_model_state_dict(adapted)
    if strangers := sorted(listed.keys() ^ tensors.keys()):
        raise ValueError(
            f"{file}: its adapters are not those that {ADAPTER_CONFIG} lists ({few(strangers)})"
        )
    refuse_not_finite(folder, listed.items())
    layers: dict[str, Any] = {**adapted_layers(model)}
    for name, layer in layers.items():
        weight, merge = layer.base_layer.weight, partial(_merged, folder, name, adapter_of(layer))
        if isinstance(weight, DeferredWeight):
            weight.then = merge
        else:
            with torch.no_grad():
                weight.copy_(merge(weight))
    adapted.unload()  # pyright: ignore[reportCallIssue]  # of LoraModel


@torch.no_grad()
def _merged(
    folder: Path, name: str, adapter: tuple[Tensor, Tensor, float], weight: Tensor
) -> Tensor:
    """Add a directory's adapter to a weight."""
    value = (weight.float() + adapter_delta(*adapter)).to(weight.dtype)
    refuse_not_finite(folder, [(name, value)])
    return value


@cache
def _say_once(message: str) -> None:
    log.warning("%s", message)


def disable_progress_bars() -> None:
    """Reading and writing weights shows no bar; a download still does, since it may take long."""
    shown = not are_progress_bars_disabled()
    library_logging.disable_progress_bar()
    if shown:
        enable_progress_bars()  # the hub's, which the line above switches off as well


def choose_attention(attention: str, dtype: torch.dtype) -> str:
    """Return the library's name of the attention to use; see ``load_policy``."""
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


def make_trainable(
    model: Any, family: Family, *, lora: Adapters | None, train_vision: bool
) -> nn.Module:
    """Mark what is trained; all that is neither language model nor head counts as vision."""
    model.requires_grad_(False)
    if lora is not None:
        model = _add_adapters(model, family, lora)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        if lora is None if family.is_language(name) else train_vision:
            parameter.requires_grad = True
    return model


def _add_adapters(model: Any, family: Family, lora: Adapters) -> nn.Module:
    config = LoraConfig(
        r=int(lora["r"]),
        lora_alpha=int(lora["alpha"]),
        lora_dropout=lora["dropout"],
        target_modules=family.adapter_targets,
    )
    return get_peft_model(model, config)


def _stop_ids(model: Any, encoder: PromptEncoder, folder: Path) -> tuple[int, ...]:
    """List the tokens that end a completion: the tokenizer's and the model's own."""
    listed = model.generation_config.eos_token_id
    listed = [i for i in (listed if isinstance(listed, list) else [listed]) if i is not None]
    size = model.get_input_embeddings().num_embeddings
    if strange := [i for i in listed if type(i) is not int or not 0 <= i < size]:
        raise ValueError(
            f"{folder}/generation_config.json: eos_token_id {shown(strange[0])} is none of the"
            f" {size} tokens; mend it"
        )
    return tuple(sorted({encoder.end_id, *listed}))
