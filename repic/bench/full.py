"""One packed update at a model's full size, counted without its numbers.

The model lies on the meta device, where tensors have sizes and no values: everything runs as it
would on a GPU, operation by operation, and takes seconds. torch's counter sees floating-point
operations; what is alive is added up (``repic.bench.held``). What is decided on the CPU (where a
caption begins, how large a picture is) keeps its values. Sampling cannot be run so, as it depends
on what is drawn.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from repic.bench.held import HeldMemory
from repic.bench.paper import model_config
from repic.models.costs import PACKED, ModelCosts, Workload
from repic.models.encoder import EncodedPrompt, PromptEncoder
from repic.models.engine.packed import PackedEngine
from repic.models.families import EncodedImage, family_of
from repic.models.loading import Adapters, make_trainable
from repic.models.memory import StepPlan, training_of
from repic.models.policy import Policy
from repic.models.positions import Segment, mrope_positions, plain_positions
from repic.types import Example, ImageSource, Rollout
from repic.values import Count, Side

Row = dict[str, str | float]

# The counter does not know the kernels of a CPU. It sees no masks: every pair of a rectangle.
_KERNELS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, query, key, value, *_, **__: sdpa_backward_flop_count(grad, query, key, value)
    ),
}


class FullSize(TypedDict):
    """A prompt's size, and the device's.

    Args:
        pixels: of a side of its pictures, which are square.
        text_tokens: beside the pictures.
        device_gib: a device that the step shall fit.
    """

    pixels: Side
    text_tokens: Count
    device_gib: Count


def full_size(settings: Mapping[str, Any], model: str) -> tuple[Policy, StepPlan]:
    """Build the model of a bench without its numbers, and say what its step is.

    Args:
        settings: the bench's configuration.
        model: its name in conf/model/. The paper's dimensions are taken, unless ``model.path`` is
            a directory, which has its own.

    Raises:
        ValueError: nobody knows the model's dimensions.
    """
    full, chosen, known = settings["full"], settings["model"], settings["paper"]["models"]
    if Path(chosen["path"]).is_dir():
        config = AutoConfig.from_pretrained(chosen["path"], trust_remote_code=False)
    elif model in known:
        config = model_config(known[model])
    else:
        raise ValueError(
            f"model={model}: bench=full knows the dimensions of {', '.join(known)}, and of any"
            " directory that model.path names"
        )
    pictures = settings["references"] + 1
    policy = sized_policy(
        config,
        pixels=full["pixels"],
        pictures=pictures,
        text_tokens=full["text_tokens"],
        dtype=getattr(torch, chosen["dtype"]),
        lora=chosen["lora"],
        gradient_checkpointing=chosen["gradient_checkpointing"],
    )
    return policy, StepPlan(
        prompts=settings["prompts"],
        group_size=settings["group_size"],
        prompt_tokens=len(policy.encoder.prompts([Example("", "caption")])[0].input_ids),
        caption_tokens=settings["caption_tokens"],
        micro_batch_tokens=settings["phase"]["grpo"]["micro_batch_tokens"],
        training=training_of(policy, has_reference=bool(settings["kl"]["coef"])),
        scheme=PACKED,
    )


def sized_policy(
    config: Any,
    *,
    pixels: int,
    pictures: int,
    text_tokens: int,
    dtype: torch.dtype,
    lora: Adapters | None,
    gradient_checkpointing: bool,
    device: str = "meta",
) -> Policy:
    """Build a policy of random weights, as ``load_policy`` makes it, with its tower frozen.

    Args:
        config: the library's, of the model.
        pixels, pictures, text_tokens: of every prompt.
        dtype, lora, gradient_checkpointing: see ``load_policy``.
        device: where it is made; on the meta device there are no numbers.

    Raises:
        ValueError: the model's family cannot be packed, or its pictures have no size known here.
    """
    family = family_of(config)
    if family.unpackable is not None or config.model_type not in ("qwen2_5_vl", "llava"):
        raise ValueError(f"{config.model_type} has no packed update that could be counted")
    with torch.device(device):
        network: Any = AutoModelForImageTextToText.from_config(
            config, attn_implementation="sdpa", dtype=dtype
        )
        if gradient_checkpointing:
            reentrant = {"use_reentrant": False}
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs=reentrant)
        model = make_trainable(network, family, lora=lora, train_vision=False)
    if family.quicken is not None:
        family.quicken(network)
    for module in model.modules():
        if device == "meta" and isinstance(module, nn.Dropout) and module.p:
            dropout: Any = module  # a GPU's masks take a byte, a CPU's four
            dropout.forward = partial(_dropout, share=module.p)
    encoder = SizedEncoder(
        config,
        pixels=pixels,
        pictures=pictures,
        text_tokens=text_tokens,
        device="meta" if device == "meta" else "cpu",
    )
    return Policy(model, encoder, source=Path(), stop_ids=(), export="merged").train()


def full_table(
    policy: Policy, plan: StepPlan, make_engine: Callable[[], PackedEngine]
) -> list[Row]:
    """Count one update and the passes before it, beside what arithmetic says.

    Args:
        policy: of ``sized_policy``.
        plan: the step; of its prompts' tokens and its training, the policy's own count.
        make_engine: makes what computes.

    Returns:
        Rows of a part, what was counted, and what arithmetic says: 10¹² floating-point operations,
        then GiB.
    """
    passes = Passes(policy, plan)
    flops = passes.count_operations(make_engine())
    peaks = passes.count_bytes(make_engine())
    workload = Workload(
        prompts=plan.prompts,
        group_size=plan.group_size,
        prompt_tokens=plan.prompt_tokens,
        caption_tokens=plan.caption_tokens,
        vision_flops=flops["vision"] // plan.prompts,
    )
    costs = ModelCosts(policy.network, policy.family)
    training = plan.training
    paper, _ = costs.step(
        workload,
        plan.scheme,
        has_reference=training.has_reference,
        is_checkpointed=training.is_checkpointed,
    )
    memory = plan.memory(policy.network)
    rows: list[Row] = [
        _row("vision TFLOP", flops["vision"] / 1e12, None),
        _row("reference TFLOP", flops["reference"] / 1e12, paper.reference / 1e12),
        _row("update TFLOP", flops["update"] / 1e12, (paper.update + paper.recomputed) / 1e12),
        _row("vision peak", peaks["vision"].total() / 2**30, None),
        _row("reference peak", peaks["reference"].total() / 2**30, None),
        _row("update peak", peaks["update"].total() / 2**30, memory.update / 2**30),
    ]
    expected = {
        "weights": memory.weights,
        "Adam's moments": 2 * memory.trained,
        "gradients": memory.trained,
        "update": memory.activations + memory.logits,
    }
    for name, size in expected.items():
        label = "activations and logits" if name == "update" else name
        rows.append(_row(f"· {label}", peaks["update"][name] / 2**30, size / 2**30))
    others = peaks["update"].total() - sum(peaks["update"][name] for name in expected)
    rows.append(_row("· others", others / 2**30, None))
    rows.append(_row("rollout peak", None, memory.rollout / 2**30))
    return rows


def _row(part: str, counted: float | None, paper: float | None) -> Row:
    nothing = float("nan")
    return {
        "part": part,
        "counted": nothing if counted is None else counted,
        "arithmetic": nothing if paper is None else paper,
    }


class Passes:
    """The passes of one update over captions of equal length, as ``GrpoModule`` makes them."""

    def __init__(self, policy: Policy, plan: StepPlan) -> None:
        self.policy, self.plan = policy, plan
        if plan.training.has_reference:
            policy.freeze_reference()
        examples = [Example(str(number), "caption") for number in range(plan.prompts)]
        ids = torch.ones(plan.caption_tokens, dtype=torch.long)
        self.captions = [
            Rollout(example, "", ids, torch.zeros(len(ids)), False)
            for example in examples
            for _ in range(plan.group_size)
        ]

    def count_operations(self, engine: PackedEngine) -> Counter[str]:
        """Return floating-point operations by pass."""
        flops = Counter[str]()

        @contextmanager
        def around(part: str) -> Iterator[None]:
            with FlopCounterMode(display=False, custom_mapping=_KERNELS) as counter:
                yield
            flops[part] += counter.get_total_flops()

        self._make(engine, around)
        return flops

    def count_bytes(self, engine: PackedEngine) -> dict[str, Counter[str]]:
        """Return, by pass, the bytes at its peak by what they were for.

        Not together with operations: torch's counter of those keeps what checkpointing would free.
        """
        trained = self.policy.trainable_parameters()
        held = HeldMemory(trained)
        held.hold("weights", [*self.policy.parameters(), *self.policy.buffers()])
        held.hold("weights", self.policy.reference_weights().values())
        peaks: dict[str, Counter[str]] = {}

        @contextmanager
        def around(part: str) -> Iterator[None]:
            held.restart()
            with held.counting(part):
                yield
            peaks[part] = max(peaks.get(part, Counter()), held.peak, key=Counter.total)

        optimizer = torch.optim.AdamW(trained, foreach=False)
        with held:
            for weight in trained:
                weight.grad = torch.zeros_like(weight)
            with held.counting("Adam's moments"):
                optimizer.step()
            optimizer.zero_grad()
            self._make(engine, around)
        return peaks

    def _make(
        self, engine: PackedEngine, around: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        captions, policy = self.captions, self.policy
        prompts = policy.encoder.prompts([caption.example for caption in captions])
        with around("vision"):
            engine.pictures(policy).features(policy, [x for p in prompts for x in p.images])
        spans = engine.split(policy, captions, max_tokens=self.plan.micro_batch_tokens)
        references = []
        for span in spans if self.plan.training.has_reference else ():
            with around("reference"):
                references.append(engine.reference_logprobs(policy, captions[span]))
        for number, span in enumerate(spans):
            with around("update"):
                tokens = engine.logprobs(policy, captions[span], entropy=True)
                loss = tokens.logprobs.sum()
                if references:
                    loss = loss + (tokens.logprobs - references[number]).square().sum()
                loss.backward()
                del tokens, loss
        policy.zero_grad()


class SizedEncoder(PromptEncoder):
    """Prompts of one size, without a tokenizer: pictures with their names, then the question."""

    def __init__(
        self, config: Any, *, pixels: int, pictures: int, text_tokens: int, device: str = "meta"
    ) -> None:
        self.family, self.image_token_id = family_of(config), config.image_token_id
        vision = config.vision_config
        patch = vision.patch_size
        if self.family.is_any_size:
            merged = patch * vision.spatial_merge_size
            sides = smart_resize(pixels, pixels, factor=merged)
            rows, columns = (side // patch for side in sides)
            values = vision.in_channels * vision.temporal_patch_size * patch**2
            inputs = {
                "pixel_values": torch.rand(rows * columns, values, device=device),
                "image_grid_thw": torch.tensor([[1, rows, columns]]),
            }
            size = (sides[0] // merged, sides[1] // merged)
        else:
            side = vision.image_size
            inputs = {"pixel_values": torch.rand(1, 3, side, side, device=device)}
            size = (side // patch, side // patch)
        self.image = EncodedImage(inputs, "", size[0] * size[1], size=size)
        self.images = self  # pyright: ignore[reportAttributeAccessIssue]  # it prepares them too
        self.pictures, self.text_tokens = pictures, text_tokens
        self.tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=1)
        self.max_length = config.get_text_config().max_position_embeddings
        self._rows: dict[str, EncodedPrompt] = {}

    def decode(self, completion_ids: Tensor) -> str:
        return ""

    def prompts(self, examples: Sequence[Example]) -> list[EncodedPrompt]:
        return [self._prompt(example.id) for example in examples]

    def encode(self, sources: Sequence[ImageSource]) -> list[EncodedImage]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return [self.image for _ in sources]

    def _prompt(self, name: str) -> EncodedPrompt:
        if name not in self._rows:
            segments: list[Segment] = []
            ids: list[int] = []
            each = self.text_tokens // (self.pictures + 1)
            for number in range(self.pictures + 1):
                is_last = number == self.pictures
                words = self.text_tokens - each * self.pictures if is_last else each
                segments.append(words)
                ids += [0] * words
                if not is_last:
                    segments.append(self.image.grid)
                    ids += [self.image_token_id] * self.image.num_tokens
            uses_mrope = self.family.uses_mrope
            positions = mrope_positions(segments) if uses_mrope else plain_positions(len(ids))
            shown = tuple(_Picture(f"{name}/{number}") for number in range(self.pictures))
            self._rows[name] = EncodedPrompt("", torch.tensor(ids), positions, shown)
        return self._rows[name]


def _dropout(x: Tensor, *, share: float) -> Tensor:
    return torch.native_dropout(x, share, True)[0]


@dataclass(frozen=True)
class _Picture:
    """One of a size that the encoder knows."""

    key: str

    def load(self) -> Image.Image:
        raise NotImplementedError
