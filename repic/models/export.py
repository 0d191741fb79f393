"""Write a policy as a directory that the library's Auto classes load.

Adapters are merged in float32: in half precision, merging alone was seen to cost several points
of recall. The directory is read back and compared before it gets its name.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from repic.models.encoder import PromptBatch
from repic.models.policy import Policy

# Difference of logits, root mean square, relative to their spread. The directory is compared in
# float32: what a policy in half precision loses by its own rounding is part of the difference.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.1}
_WEIGHTS = (".safetensors", ".bin", ".safetensors.index.json", ".bin.index.json")


def export_policy(policy: Policy, folder: Path) -> None:
    """Write ``folder``, replacing one that is there; an interrupted export leaves the old one.

    With adapters the merged weights are float32, and the adapters themselves lie in ``adapter/``.
    The directory is self-contained: tokenizer, chat template and image processor are those that
    the policy was loaded with, and the processor's bounds those it was used with.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _copy_side_files(policy, scratch)
        _save_weights(policy, scratch)
        _check_parity(policy, scratch)
        scratch.chmod(0o755)  # temporary folders are made private
        _replace(folder, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def merged_weights(policy: Policy) -> dict[str, Tensor]:
    """Return the network's weights under their own names, with adapters added in float32."""
    network = policy.network
    deltas = _adapter_deltas(network)
    merged = {}
    for name, value in network.state_dict().items():
        if ".lora_" in name:
            continue
        name = name.replace(".base_layer.", ".")
        value = value.detach().cpu()
        if policy.has_adapters and value.is_floating_point():
            value = value.float()
        merged[name] = value + deltas.pop(name) if name in deltas else value
    assert not deltas, f"adapters without a weight: {sorted(deltas)}"
    return merged


def _adapter_deltas(network: nn.Module) -> dict[str, Tensor]:
    """Return what each adapter adds to its weight."""
    deltas = {}
    for name, module in network.named_modules():
        if isinstance(module, LoraLayer):
            layer: Any = module
            for adapter in layer.active_adapters:
                down = layer.lora_A[adapter].weight.detach().float().cpu()
                up = layer.lora_B[adapter].weight.detach().float().cpu()
                deltas[f"{name}.weight"] = up @ down * layer.scaling[adapter]
    return deltas


def _save_weights(policy: Policy, folder: Path) -> None:
    weights = merged_weights(policy)
    policy.network.save_pretrained(folder, state_dict=weights)
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    _edit_json(folder / "config.json", dtype=dtype)
    if isinstance(policy.model, PeftModel):
        policy.model.save_pretrained(str(folder / "adapter"))


def _copy_side_files(policy: Policy, folder: Path) -> None:
    """Copy everything but weights, and note the image processor as it was used."""
    for file in policy.source.iterdir():
        if file.is_file() and not file.name.endswith(_WEIGHTS):
            shutil.copy(file, folder / file.name)
    policy.encoder.images.processor.save_pretrained(folder)


def _check_parity(policy: Policy, folder: Path) -> None:
    """Load the directory and compare logits with the policy's on a prompt with a picture."""
    prompts = _probe(policy)
    with policy.evaluating(), torch.no_grad():
        ours = _logits(policy, prompts.to(policy.device)).float().cpu()
    network = policy.network
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        folder, dtype="auto", attn_implementation="sdpa"
    )
    twin = Policy(
        loaded, policy.encoder, source=folder, fingerprint="", stop_ids=policy.stop_ids
    ).eval()
    with torch.no_grad():
        theirs = _logits(twin, prompts).float()
    difference = ((ours - theirs).square().mean().sqrt() / ours.std()).item()
    if not difference <= _TOLERANCE[network.dtype]:  # NaN is no parity
        raise ValueError(
            f"the exported model is not the trained one: on a test prompt, logits differ by"
            f" {difference:.2g} of their spread (allowed: {_TOLERANCE[network.dtype]:g})"
        )


def _logits(policy: Policy, prompts: PromptBatch) -> Tensor:
    """Return logits at every place of a single prompt."""
    hidden = policy.hidden_states(
        policy.embed(prompts),
        attention_mask=prompts.attention_mask,
        position_ids=prompts.position_ids,
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


def _edit_json(path: Path, **values: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **values}, indent=2) + "\n", encoding="utf-8")


def _replace(folder: Path, scratch: Path) -> None:
    """Give the finished directory its name."""
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        os.replace(folder, old / folder.name)
        os.replace(scratch, folder)
        shutil.rmtree(old)
    else:
        os.replace(scratch, folder)
