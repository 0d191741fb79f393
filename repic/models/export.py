"""Write a policy as a directory that the library's Auto classes load.

Adapters are merged in float32 and rounded once: in half precision, merging alone was seen to cost
several points of recall. What was written is loaded again and compared with the policy. Neither
needs memory for a second model: weights are made, written and read one after another.
"""

import json
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
from transformers.core_model_loading import WeightRenaming

from repic.models.deferred import deferring, fill_in_passing
from repic.models.directory import ADAPTER, find_base, is_adapter, weights_fingerprint
from repic.models.encoder import PromptBatch
from repic.models.engine.sampling import Sampling
from repic.models.loading import adapted_layers, adapter_delta, adapter_of, load_network
from repic.models.policy import Policy
from repic.models.side_files import (
    copy_side_files,
    set_dtype,
    share,
    spell_for_transformers_4,
    write_generation_config,
)

log = logging.getLogger(__name__)

# Of numbers' types, in safetensors files.
_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_NAMES |= {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
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
        save_weights(policy, folder, with_adapters=True, dtype=dtype)
        set_dtype(folder, str(dtype).removeprefix("torch."))
    write_generation_config(folder, sampling, policy.stop_ids)
    spell_for_transformers_4(folder)
    share(folder)
    _check_parity(policy, folder, dtype)


def save_weights(
    policy: Policy, folder: Path, *, with_adapters: bool, dtype: torch.dtype | None = None
) -> None:
    """Write the network's weights and configuration alone, for a server that knows the rest.

    Args:
        policy: the model.
        folder: where.
        with_adapters: False leaves those out that are not merged.
        dtype: of the weights that are floating-point numbers, where there are adapters; by default
            the network's own.
    """
    network = policy.network
    weights = _weights(policy, dtype or network.dtype, with_adapters=with_adapters)
    conversions = getattr(network, "_weight_conversions", None) or ()
    if not all(isinstance(conversion, WeightRenaming) for conversion in conversions):
        whole = {name: weight.make() for name, weight in weights.items()}
        network.save_pretrained(folder, state_dict=whole)
        return
    # To learn their names in files, the library is given numbers to write in the weights' places.
    numbers = {name: torch.tensor(number) for number, name in enumerate(weights)}
    network.save_pretrained(folder, state_dict=numbers)
    file, listed = folder / "model.safetensors", list(weights.values())
    named = {name: listed[int(number)] for name, number in load_file(file).items()}
    file.unlink()
    _write(file, named)


def save_adapters(policy: Policy, folder: Path) -> None:
    """Write the adapters that are trained alone, to be added to the network's own weights."""
    model: Any = policy.model
    model.save_pretrained(str(folder), save_embedding_layers=False)


@dataclass(frozen=True)
class _Weight:
    """A weight as it is to be written: how large it will be, and what it is made of.

    ``layer`` has the adapters that are added to it, if any.
    """

    value: Tensor
    dtype: torch.dtype
    layer: Any = None

    @property
    def num_bytes(self) -> int:
        return self.value.numel() * self.dtype.itemsize

    def make(self) -> Tensor:
        """Return it on the CPU; sums are made in float32 and rounded once."""
        value = self.value.detach().cpu()
        if self.layer is not None:
            value = value.float() + adapter_delta(*adapter_of(self.layer))
        return value.to(self.dtype)


def _write(file: Path, weights: Mapping[str, _Weight]) -> None:
    """Write weights one after another, of which one is in memory at a time.

    https://github.com/huggingface/safetensors#format: the length of a header, the header, and the
    numbers that it says the places of. Those of many bytes come first, so that all are aligned.
    """
    ordered = sorted(weights.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, weight in ordered:
        start, end = end, end + weight.num_bytes
        shape, dtype = list(weight.value.shape), _NAMES[weight.dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for _, weight in ordered:
            opened.write(weight.make().contiguous().flatten().view(torch.uint8).numpy().data)


def _weights(policy: Policy, dtype: torch.dtype, *, with_adapters: bool) -> dict[str, _Weight]:
    """List the network's weights under their own names, each once; see ``save_weights``."""
    network = policy.network
    layers = adapted_layers(network) if with_adapters else {}
    weights = {}
    for name, value in network.state_dict().items():
        name = name.replace(".base_layer.", ".")
        if ".lora_" in name or name in network.all_tied_weights_keys:
            continue
        is_cast = policy.has_adapters and value.is_floating_point()
        weights[name] = _Weight(value, dtype if is_cast else value.dtype, layers.pop(name, None))
    assert not layers, f"adapters without a weight: {sorted(layers)}"
    return weights


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
    with deferring():
        network = load_network(folder, dtype=dtype, attention="sdpa")
    fill_in_passing(network)
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
