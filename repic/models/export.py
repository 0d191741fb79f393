"""Write a policy as a directory that the library's Auto classes load.

Adapters are merged in float32 and rounded once: in half precision, merging alone was seen to cost
several points of recall. What was written is loaded again and compared with the policy.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from repic.models.directory import ADAPTER, find_base, is_adapter, weights_fingerprint
from repic.models.encoder import PromptBatch
from repic.models.engine.sampling import Sampling
from repic.models.loading import adapted_layers, adapter_delta, load_network
from repic.models.policy import Policy
from repic.models.side_files import (
    copy_side_files,
    set_dtype,
    share,
    spell_for_transformers_4,
    write_generation_config,
)

log = logging.getLogger(__name__)

# Difference of logits, root mean square, relative to their spread.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.1}


def export_policy(policy: Policy, folder: Path, *, sampling: Sampling) -> None:
    """Fill an empty folder with the model, as ``policy.export`` says: see ``load_policy``.

    The directory has its own tokenizer, chat template and image processor: those that the policy
    was loaded with, and the processor's bounds those it was used with. Adapters alone name the
    model that they are added to, and hold those that the policy started from as well.

    Args:
        policy: the model.
        folder: where; it exists.
        sampling: how the model is evaluated, which ``generation_config.json`` says.

    Raises:
        ValueError: what was written is not the policy.
    """
    copy_side_files(policy.source, folder, policy.encoder.images.processor)
    dtype = policy.network.dtype
    if policy.has_adapters and policy.export == "adapter":
        policy.network.config.save_pretrained(folder)
        _save_adapters(policy, folder)
    else:
        if policy.has_adapters and policy.export == "merged_float32":
            dtype = torch.float32
        policy.network.save_pretrained(folder, state_dict=merged_weights(policy, dtype))
        set_dtype(folder, str(dtype).removeprefix("torch."))
    write_generation_config(folder, sampling, policy.stop_ids)
    spell_for_transformers_4(folder)
    share(folder)
    _check_parity(policy, folder, dtype)


def save_weights(policy: Policy, folder: Path, *, with_adapters: bool) -> None:
    """Write the network's weights and configuration alone, for a server that knows the rest."""
    weights = merged_weights(policy, policy.network.dtype, with_adapters=with_adapters)
    policy.network.save_pretrained(folder, state_dict=weights)


def save_adapters(policy: Policy, folder: Path) -> None:
    """Write the adapters that are trained alone, to be added to the network's own weights."""
    model: Any = policy.model
    model.save_pretrained(str(folder), save_embedding_layers=False)


def merged_weights(
    policy: Policy, dtype: torch.dtype, *, with_adapters: bool = True
) -> dict[str, Tensor]:
    """Return the network's weights under their own names, with adapters added, each once.

    Args:
        policy: the model.
        dtype: of the weights that are floating-point numbers, where there are adapters; sums are
            made in float32.
        with_adapters: False leaves those out that are not merged.
    """
    network = policy.network
    layers = adapted_layers(network) if with_adapters else {}
    merged = {}
    for name, value in network.state_dict().items():
        name = name.replace(".base_layer.", ".")
        if ".lora_" in name or name in network.all_tied_weights_keys:
            continue
        value = value.detach().cpu()
        if name in layers:
            value = value.float() + adapter_delta(layers.pop(name))
        is_cast = policy.has_adapters and value.is_floating_point()
        merged[name] = value.to(dtype) if is_cast else value
    assert not layers, f"adapters without a weight: {sorted(layers)}"
    return merged


def _save_adapters(policy: Policy, folder: Path) -> None:
    """Write the adapters, added to those that the policy started from: one pair a weight.

    B₁A₁ + B₂A₂ is [B₁ B₂] times A₁ on A₂: the ranks add up, and the scale goes into B.
    """
    model: Any = policy.model
    config: LoraConfig = model.peft_config["default"]
    base = find_base(policy.source) if is_adapter(policy.source) else policy.source
    tensors = _scaled(get_peft_model_state_dict(model), config)
    if is_adapter(policy.source):
        earlier: Any = LoraConfig.from_pretrained(str(policy.source))
        first = _scaled(load_file(policy.source / ADAPTER), earlier)
        if first.keys() != tensors.keys():
            raise ValueError(
                f"model.export=adapter: the adapters of {policy.source}, which training started"
                " from, are on other weights than the new ones; use model.export=merged"
            )
        tensors = {
            name: torch.cat([first[name], value], dim=int(".lora_B." in name))
            for name, value in tensors.items()
        }
    rank = next(len(value) for name, value in tensors.items() if ".lora_A." in name)
    written = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=config.lora_dropout,
        target_modules=config.target_modules,
        base_model_name_or_path=config.base_model_name_or_path,
        task_type=config.task_type,
        inference_mode=True,
    )
    written.save_pretrained(str(folder))
    notes = {"format": "pt", "base": weights_fingerprint(base)}
    save_file(tensors, folder / ADAPTER, metadata=notes)


def _scaled(tensors: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """Return adapters in float32 that are to be added as they are."""
    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    return {
        name: (value.detach().float().cpu() * (scale if ".lora_B." in name else 1)).contiguous()
        for name, value in tensors.items()
    }


def _check_parity(policy: Policy, folder: Path, dtype: torch.dtype) -> None:
    """Load the directory and compare logits with the policy's on a prompt with a picture."""
    prompts = _probe(policy)
    with policy.evaluating(), torch.no_grad():
        ours = _logits(policy, prompts.to(policy.device)).float().cpu()
        before = ours
        if isinstance(policy.model, PeftModel):
            with policy.model.disable_adapter():
                before = _logits(policy, prompts.to(policy.device)).float().cpu()
    network = load_network(folder, dtype=dtype, attention="sdpa")
    twin = Policy(
        network, policy.encoder, source=folder, stop_ids=policy.stop_ids, export=policy.export
    ).eval()
    with torch.no_grad():
        theirs = _logits(twin, prompts).float()
    difference, change = _distance(ours, theirs), _distance(ours, before)
    allowed = _TOLERANCE[policy.network.dtype]
    told = f"on a test prompt, logits differ by {difference:.2g} of their spread"
    if not difference <= allowed:  # NaN is no parity
        raise ValueError(
            f"the exported model is not the trained one: {told} (allowed: {allowed:g})"
        )
    if policy.has_adapters:
        log.info("model.export=%s: %s; adapters change them by %.2g", policy.export, told, change)


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square of a difference, relative to the spread of the first."""
    return ((ours - theirs).square().mean().sqrt() / ours.std()).item()


def _logits(policy: Policy, prompts: PromptBatch) -> Tensor:
    """Return logits at every place of a single prompt."""
    embeddings, injection = policy.embed(prompts)
    hidden = policy.hidden_states(
        embeddings,
        attention_mask=prompts.attention_mask,
        position_ids=prompts.position_ids,
        injection=injection,
    )
    return policy.logits(hidden)


@dataclass(frozen=True)
class _Gradient:
    """A picture for the test prompt."""

    key: str = "repic:export-check"

    def load(self) -> Image.Image:
        ramp = Image.linear_gradient("L").resize((112, 84))
        return Image.merge("RGB", (ramp, ramp.rotate(180), ramp.rotate(90)))


def _probe(policy: Policy) -> PromptBatch:
    content = [{"type": "image", "image": _Gradient()}, {"type": "text", "text": "What is it?"}]
    prompt = policy.encoder.encode_messages([{"role": "user", "content": content}])
    return policy.encoder.pad([prompt])
