"""Costs of the papers' settings, from models that have sizes and no numbers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText

from repic.errors import explain
from repic.models.costs import SCHEMES, ModelCosts, Scheme, Workload, scoring_work
from repic.models.families import family_of
from repic.models.loading import Adapters, make_trainable
from repic.models.memory import Training, step_memory
from repic.values import Amount, Count, Side, Text, nearest

Row = dict[str, str | float]

LoraRank = Amount | None


class Work(TypedDict):
    """A step's prompts and captions, and a prompt's pictures in patches: time, rows, columns."""

    prompts: Amount
    group_size: Amount
    prompt_tokens: Count
    caption_tokens: Count
    images: Sequence[tuple[Side, Side, Side]]


class TrainingSettings(TypedDict):
    """How a step is computed."""

    lora_rank: LoraRank
    has_reference: bool
    is_checkpointed: bool
    micro_batch: Amount
    weight_bytes: Literal[1, 2, 4]


class Setting(TypedDict):
    """What a paper does in a step, as far as it says so."""

    name: Text
    model: Text
    workload: Work
    training: TrainingSettings


class Paper(TypedDict):
    """The arguments of ``paper_table``."""

    models: Mapping[str, Mapping[str, Any]]
    settings: Sequence[Setting]


def paper_table(
    models: Mapping[str, Mapping[str, Any]], settings: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """Compute every setting under every scheme; see conf/bench/paper.yaml.

    Args:
        models: by name, the dimensions as in a config.json.
        settings: each a ``name``, a ``model``, a ``workload`` and a ``training``.

    Returns:
        A row for each setting and scheme: tokens in thousands, FLOPs in 10¹², memory in GiB.

    Raises:
        ValueError: a setting's model is not among them, or there can be none of its dimensions.
    """
    rows: list[Row] = []
    for number, setting in enumerate(settings):
        training, work = setting["training"], {**setting["workload"]}
        name = setting["model"]
        if name not in models:
            known = f"{', '.join(models)}{nearest(name, models)}"
            raise ValueError(f"paper.settings[{number}].model: {name!r} is not one of {known}")
        try:
            network = make_network(models[name], lora_rank=training["lora_rank"])
        except Exception as error:  # a library's, of whatever type
            raise ValueError(f"paper.models.{name}: {explain(error)}") from error
        model = ModelCosts(network, family_of(network.config))
        images = Counter(tuple(image) for image in work.pop("images"))
        vision = sum(n * picture_flops(network, image) for image, n in images.items())
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
            memory = memory_row(network, workload, training, scheme)
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


def model_config(dimensions: Mapping[str, Any]) -> Any:
    """Return the library's configuration of a model of dimensions as in a config.json."""
    values = {**dimensions}
    # The library writes into what it is given.
    parts = {key: {**values.pop(key)} for key in ("text_config", "vision_config")}
    return AutoConfig.for_model(values.pop("model_type"), **values, **parts)


def make_network(dimensions: Mapping[str, Any], *, lora_rank: int | None) -> Any:
    """Build a model on the meta device; its language model, or adapters on it, are trained.

    Args:
        dimensions: as in a config.json.
    """
    config = model_config(dimensions)
    family = family_of(config)
    lora = None if lora_rank is None else Adapters(r=lora_rank, alpha=lora_rank, dropout=0.0)
    with torch.device("meta"):
        network: Any = AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa")
        make_trainable(network, family, lora=lora, train_vision=False)
    if family.quicken is not None:
        family.quicken(network)
    return network


@torch.no_grad()
def picture_flops(network: Any, image: Sequence[int]) -> int:
    """Count what tower and projector compute for a picture of (time, rows, columns) patches."""
    vision = network.config.vision_config
    time, rows, columns = image
    inputs: dict[str, Tensor]
    if family_of(network.config).is_any_size:
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.empty(time * rows * columns, values, device="meta")
        inputs = {"pixel_values": pixels, "image_grid_thw": torch.tensor([list(image)])}
    else:
        height, width = (side * vision.patch_size for side in (rows, columns))
        inputs = {"pixel_values": torch.empty(1, 3, height, width, device="meta")}
    with FlopCounterMode(display=False) as counter, _FollowMeta():
        network.model.get_image_features(**inputs, return_dict=True)
    return counter.get_total_flops()


class _FollowMeta(TorchDispatchMode):
    """Sizes of pictures have numbers, pixels have none: what meets these needs none either."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if any(isinstance(x, Tensor) and x.is_meta for x in tree_flatten((args, kwargs))[0]):
            args, kwargs = tree_map_only(Tensor, lambda x: x.to("meta"), (args, kwargs))
        return func(*args, **kwargs)


def memory_row(
    network: Any, workload: Workload, training: Mapping[str, Any], scheme: Scheme
) -> dict[str, int]:
    """Estimate the bytes that a step holds; see ``repic.models.memory``.

    - the cache is of all of the step's captions: a prompt's keys and values are there once for each
      of its G captions, unless the scheme's kernels read one copy
    - "unchecked" are the activations without checkpointing, "all logits" those at every place of
      the rows, for trainers that hold them
    - the peak: the larger of rollout and update
    """
    how = {**training}
    groups = min(how.pop("micro_batch"), workload.prompts)
    captions = workload.group_size * (workload.caption_tokens - 1)
    copies = 1 if scheme.shares_scoring else workload.group_size
    work = scoring_work(workload, scheme).times(groups)
    cached = workload.prompts * (copies * workload.prompt_tokens + captions)
    memory, unchecked = (
        step_memory(
            network,
            Training(**{**how, "is_checkpointed": is_checkpointed}),
            cached=cached,
            micro_batch=work,
        )
        for is_checkpointed in (how["is_checkpointed"], False)
    )
    places = groups * (workload.group_size * workload.prompt_tokens + captions)
    return {
        "weights": memory.weights,
        "gradients, Adam": 3 * memory.trained,
        "KV cache": memory.cache,
        "activations": memory.activations,
        "unchecked": unchecked.activations,
        "logits": memory.logits,
        "all logits": memory.logits // work.predicted * places,
        "peak GiB": memory.peak,
    }
