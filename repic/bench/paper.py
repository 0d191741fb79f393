"""Costs of the papers' settings: what is measured of a model without numbers, multiplied.

Memory is what the passes must hold. Not counted: the vision tower's working memory, kernels'
scratch space, the allocator's fragmentation, pixels, communication buffers. Adapters are in
float32 whatever the model is in, as peft makes them; gradients and moments are in the precision of
what they belong to (no float32 masters of bfloat16 weights).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from repic.models.costs import (
    SCHEMES,
    MeasuredModel,
    Scheme,
    Workload,
    count_flops,
    scoring_work,
)

Row = dict[str, str | float]
_FLOAT32 = 4  # bytes
_DTYPES = {2: torch.bfloat16, 4: torch.float32}


def paper_table(
    models: Mapping[str, Mapping[str, Any]], settings: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """Compute every setting under every scheme; see conf/bench/paper.yaml.

    Args:
        models: by name, the dimensions as in a config.json.
        settings: each a ``name``, a ``model``, a ``workload`` and a ``training``.

    Returns:
        A row for each setting and scheme: tokens in thousands, FLOPs in 10¹², memory in GiB.
    """
    rows: list[Row] = []
    measured: dict[tuple[Any, ...], MeasuredModel] = {}
    for setting in settings:
        training, work = setting["training"], dict(setting["workload"])
        rank, width = training["lora_rank"], training["weight_bytes"]
        key = (setting["model"], rank, width)
        if key not in measured:
            config = make_config(models[setting["model"]])
            measured[key] = MeasuredModel(config, lora_rank=rank, dtype=_DTYPES[width])
        model = measured[key]
        images = Counter(tuple(image) for image in work.pop("images"))
        vision = sum(n * picture_flops(model, image) for image, n in images.items())
        workload = Workload(vision_flops=vision, **work)
        for scheme in SCHEMES:
            flops, tokens = model.step(
                workload,
                scheme,
                has_reference=training["has_reference"],
                is_checkpointed=training["is_checkpointed"],
            )
            tera = {
                "vision": flops.vision,
                "prefill": flops.prefill,
                "decode": flops.decode,
                "reference": flops.reference,
                "update": flops.update,
                "model TFLOP": flops.model,
                "recomputed": flops.recomputed,
            }
            memory = step_memory(model, workload, training, scheme)
            rows.append(
                {
                    "setting": setting["name"],
                    "scheme": scheme.name,
                    "k tokens": tokens / 1e3,
                    **{name: value / 1e12 for name, value in tera.items()},
                    **{name: value / 2**30 for name, value in memory.items()},
                }
            )
    return rows


def make_config(dimensions: Mapping[str, Any]) -> Any:
    """Build the library's configuration from dimensions as in a config.json."""
    values = {**dimensions}
    # The library writes into what it is given.
    parts = {key: {**values.pop(key)} for key in ("text_config", "vision_config")}
    return AutoConfig.for_model(values.pop("model_type"), **values, **parts)


def picture_flops(model: MeasuredModel, image: Sequence[int]) -> int:
    """Count what tower and projector compute for a picture of (time, rows, columns) patches."""
    vision = model.network.config.vision_config
    time, rows, columns = image
    inputs: dict[str, Tensor]
    if model.family.is_any_size:
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.empty(time * rows * columns, values, device="meta")
        inputs = {"pixel_values": pixels, "image_grid_thw": torch.tensor([list(image)])}
    else:
        height, width = (side * vision.patch_size for side in (rows, columns))
        inputs = {"pixel_values": torch.empty(1, 3, height, width, device="meta")}
    return count_flops(lambda: model.network.model.get_image_features(**inputs, return_dict=True))


def step_memory(
    model: MeasuredModel, workload: Workload, training: Mapping[str, Any], scheme: Scheme
) -> dict[str, int]:
    """Estimate the bytes that a step holds.

    - weights: of the model and its adapters, and the reference's copy of what is trained (none
      with adapters, which are switched off)
    - gradients of what is trained, and Adam's two moments
    - KV cache at the end of the rollout, of all of the step's captions: a prompt's are there once
      for each of its G captions, unless the scheme's kernels read one copy
    - activations that autograd keeps of one micro-batch: with checkpointing, each layer's input and
      all that one layer keeps while its backward runs; "unchecked" without it
    - logits, in float32, at the captions' places of one micro-batch; "all logits" at every place of
      the rows, for trainers that hold them
    - the peak: the larger of rollout and update; the rollout holds no gradients
    """
    width, rank = training["weight_bytes"], training["lora_rank"]
    trained = model.trained * (_FLOAT32 if rank else width)
    reference = 0 if rank or not training["has_reference"] else trained
    weights = width * model.parameters + _FLOAT32 * model.adapters + reference
    captions = workload.group_size * (workload.caption_tokens - 1)
    copies = 1 if scheme.shares_cache else workload.group_size
    places = workload.prompts * (copies * workload.prompt_tokens + captions)
    cache = model.cached * width * places
    groups = min(training["micro_batch"], workload.prompts)
    work = scoring_work(workload, scheme).times(groups)
    unchecked = work.tokens * model.kept
    activations = unchecked
    if training["is_checkpointed"]:
        inputs = model.layers * model.hidden * width
        activations = work.tokens * (inputs + model.kept // model.layers)
    logits = _FLOAT32 * work.predicted * model.vocabulary
    rows = groups * (workload.group_size * workload.prompt_tokens + captions)
    return {
        "weights": weights,
        "gradients, Adam": 3 * trained,
        "KV cache": cache,
        "activations": activations,
        "unchecked": unchecked,
        "logits": logits,
        "all logits": _FLOAT32 * rows * model.vocabulary,
        "peak GiB": weights + 2 * trained + max(cache, trained + activations + logits),
    }


def as_markdown(rows: Sequence[Row]) -> str:
    """Lay rows out as a Markdown table, with three significant digits.

    Example:
        >>> print(as_markdown([{"scheme": "plain", "tokens": 1234.5, "memory": 0.0123}]))
        | scheme | tokens | memory |
        |---|--:|--:|
        | plain | 1,234 | 0.0123 |
    """
    first = rows[0]
    marks = ("---" if isinstance(value, str) else "--:" for value in first.values())
    lines = ["| " + " | ".join(first) + " |", "|" + "|".join(marks) + "|"]
    for row in rows:
        cells = (value if isinstance(value, str) else _digits(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
