"""What an iteration's work was: tokens, seconds, memory, and how much of the device it used."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.flop_counter import FlopCounterMode

from repic.models.costs import NAIVE, ModelCosts, Workload
from repic.models.engine.base import Engine
from repic.models.engine.meter import peak_memory
from repic.models.memory import StepPlan
from repic.models.peaks import peak_flops, utilization
from repic.models.policy import Policy
from repic.phases.monitor import IterationListener
from repic.types import ImageSource, Rollout

log = logging.getLogger(__name__)

_MEASURED: WeakKeyDictionary[Policy, tuple[ModelCosts, float] | None] = WeakKeyDictionary()


def work_done(
    policy: Policy,
    engine: Engine,
    groups: Sequence[Sequence[Rollout]],
    times: Mapping[str, float],
    *,
    has_reference: bool,
    num_updates: int,
) -> dict[str, float]:
    """Return what to log of one iteration on this rank.

    Args:
        engine: whose meter is read, and starts anew.
        times: seconds of parts of the iteration: rollout, update, …
        has_reference: the reference scored every caption.
        num_updates: optimizer steps.
    """
    numbers = {f"time/{part}_s": seconds for part, seconds in times.items()}
    numbers |= engine.meter.take()
    numbers["memory/peak_mib"] = peak_memory(policy.device)
    peak = device_peak(policy)
    needed = model_flops(policy, engine, groups, has_reference=has_reference) if peak else None
    if needed is not None:
        update = num_updates * needed["update"] + needed["reference"]
        everything = needed["rollout"] + update
        numbers["mfu/update"] = utilization(update, times["update"], peak) or 0.0
        both = times["rollout"] + times["update"]
        numbers["mfu/iteration"] = utilization(everything, both, peak) or 0.0
    return numbers


def device_peak(policy: Policy) -> float | None:
    """Operations per second that the policy's device could do; None for an unknown one."""
    if policy.device.type != "cuda":
        return None
    dtype = str(policy.network.dtype).removeprefix("torch.")
    return peak_flops(torch.cuda.get_device_name(policy.device), dtype)


def model_flops(
    policy: Policy,
    engine: Engine,
    groups: Sequence[Sequence[Rollout]],
    *,
    has_reference: bool,
) -> dict[str, float] | None:
    """Model FLOPs of an iteration with one update: what the engine's way of computing it takes.

    Captions count with their group's mean length, and a trained vision tower as a frozen one. A
    picture counts by its pixels, at the rate of the first that is seen. None where a model's
    operations cannot be counted.
    """
    if policy not in _MEASURED:
        _MEASURED[policy] = _measure(policy, groups)
    if (measured := _MEASURED[policy]) is None:
        return None
    model, per_pixel = measured
    totals = {"rollout": 0.0, "reference": 0.0, "update": 0.0}
    for group in groups:
        (prompt,) = policy.encoder.prompts([group[0].example])
        workload = Workload(
            prompts=1,
            group_size=len(group),
            prompt_tokens=len(prompt.input_ids),
            caption_tokens=round(sum(len(r.completion_ids) for r in group) / len(group)),
            vision_flops=round(per_pixel * _num_pixels(policy, prompt.images)),
        )
        scheme = engine.scheme if policy.family.unpackable is None else NAIVE
        flops, _ = model.step(workload, scheme, has_reference=has_reference, is_checkpointed=False)
        totals["rollout"] += flops.vision + flops.prefill + flops.decode
        totals["reference"] += flops.reference
        totals["update"] += flops.update
    return totals


def _measure(
    policy: Policy, groups: Sequence[Sequence[Rollout]]
) -> tuple[ModelCosts, float] | None:
    """Count what a token and a pixel take, once for a policy."""
    try:
        prompts = policy.encoder.prompts([group[0].example for group in groups])
        shown = [source for prompt in prompts for source in prompt.images][:1]
        per_pixel = 0.0
        if shown:
            images = policy.encoder.images.encode(shown)
            counter = FlopCounterMode(display=False)
            with policy.evaluating(), torch.no_grad(), counter:
                policy.picture_features(images)
            per_pixel = counter.get_total_flops() / _num_pixels(policy, shown)
        return ModelCosts(policy.network, policy.family), per_pixel
    except Exception as error:  # of whatever kind: only a number is lost
        kind = policy.network.config.model_type
        log.info("no mfu: what %s computes cannot be counted (%s)", kind, error)
        return None


def _num_pixels(policy: Policy, sources: Sequence[ImageSource]) -> int:
    images = policy.encoder.images.encode(sources)
    return sum(image.inputs["pixel_values"].numel() for image in images)


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU; None of anything else, which has the machine's."""
    if device.type != "cuda":
        return None
    return torch.cuda.get_device_properties(device).total_memory


def refuse_too_large(policy: Policy, plan: StepPlan, capacity: int, *, where: str) -> None:
    """Refuse a step that will not fit into a device's memory, before it is begun.

    Args:
        policy: the model.
        plan: the step.
        capacity: bytes of the device.
        where: its name.

    Raises:
        ValueError: says what takes how much, and which setting to lower to what.
    """
    memory = plan.memory(policy.network)
    if memory.peak <= capacity:
        return
    parts = {
        "weights": memory.weights,
        "gradients and Adam's moments": 3 * memory.trained,
        "activations": memory.activations,
        "logits": memory.logits,
    }
    if memory.rollout > memory.update:
        parts = {
            "weights": memory.weights,
            "Adam's moments": 2 * memory.trained,
            "keys and values": memory.cache,
        }
    pass_name = "rollout" if memory.rollout > memory.update else "update"
    listed = ", ".join(f"{name} {_gib(size)}" for name, size in parts.items())
    raise ValueError(
        f"grpo does not fit into the {_gib(capacity)} GiB of {where}: its {pass_name} takes about"
        f" {_gib(memory.peak)} GiB ({listed}) for {plan.prompts} × {plan.group_size} captions of up"
        f" to {plan.caption_tokens} tokens behind prompts of {plan.prompt_tokens};"
        f" {what_to_lower(policy.network, plan, capacity)}"
    )


def what_to_lower(network: Any, plan: StepPlan, capacity: int) -> str:
    """Say with which settings a step would fit: the first of those that cost least time."""
    for changes, other in _smaller(plan):
        if (peak := other.memory(network).peak) <= capacity:
            return f"{', and '.join(changes)}, with which it takes {_gib(peak)} GiB"
    least = "with micro-batches of one caption and gradient checkpointing it still does not"
    mends = ["a larger device"]
    if plan.training.lora_rank is None:
        mends.append("model.lora")
    if plan.training.weight_bytes > 2:
        mends.append("model.dtype=bfloat16")
    mends.append("a lower model.max_pixels or phase.grpo.sampling.max_new_tokens")
    return f"{least}; what may help: {', '.join(mends)}"


def _smaller(plan: StepPlan) -> Iterator[tuple[list[str], StepPlan]]:
    """Yield plans that take less memory, with the settings that make them."""

    def lowered(key: str, before: int, after: int) -> str:
        return f"lower phase.grpo.{key} from {before} to {after}"

    budget = "micro_batch_tokens"
    whole = plan.prompt_tokens + plan.group_size * plan.caption_tokens
    shorter = [n for n in plan.portions if n < plan.micro_batch_tokens]
    for tokens in shorter:
        if tokens >= whole:  # else a prompt is computed several times, which costs more
            smaller = replace(plan, micro_batch_tokens=tokens)
            yield [lowered(budget, plan.micro_batch_tokens, tokens)], smaller
    said = [] if plan.training.is_checkpointed else ["set model.gradient_checkpointing=true"]
    plan = replace(plan, training=replace(plan.training, is_checkpointed=True))
    if said:
        yield said, plan
    for tokens in shorter:
        said_too = [*said, lowered(budget, plan.micro_batch_tokens, tokens)]
        yield said_too, replace(plan, micro_batch_tokens=tokens)
    for prompts in range(plan.prompts - 1, 0, -1):
        said_too = [*said, lowered("prompts", plan.prompts, prompts)]
        yield said_too, replace(plan, prompts=prompts)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"


@contextlib.contextmanager
def enough_memory(work: str, mend: str, monitor: IterationListener) -> Iterator[None]:
    """Say what to lower if memory does not suffice for some work."""
    try:
        yield
    except RuntimeError as error:
        # On a CPU the allocator's complaint has no type of its own.
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise ValueError(
            f"out of memory in {work}: {mend}; the same command goes on after iteration"
            f" {monitor.saved}"
        ) from None
