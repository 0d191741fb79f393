"""What an iteration's work was: tokens, seconds, memory, and how much of the device it used."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from repic.models.costs import Training, Workload, peak_flops, step_costs, utilization
from repic.models.engine.meter import peak_memory
from repic.phases.monitor import IterationListener
from repic.types import Rollout


def work_done(
    policy: Any,
    engine: Any,
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
    if peak is not None:
        needed = model_flops(policy, engine, groups, has_reference=has_reference)
        update = num_updates * needed["update"] + needed["reference"]
        everything = needed["rollout"] + update
        numbers["mfu/update"] = utilization(update, times["update"], peak) or 0.0
        both = times["rollout"] + times["update"]
        numbers["mfu/iteration"] = utilization(everything, both, peak) or 0.0
    return numbers


def device_peak(policy: Any) -> float | None:
    """Operations per second that the policy's device could do; None for an unknown one."""
    if policy.device.type != "cuda":
        return None
    dtype = str(policy.network.dtype).removeprefix("torch.")
    return peak_flops(torch.cuda.get_device_name(policy.device), dtype)


def model_flops(
    policy: Any, engine: Any, groups: Sequence[Sequence[Rollout]], *, has_reference: bool
) -> dict[str, int]:
    """Model FLOPs of an iteration with one update: what the engine's way of computing it takes.

    Captions count with their group's mean length, and a trained vision tower as a frozen one.
    """
    training = Training(
        lora_rank=policy.model.peft_config["default"].r if policy.has_adapters else None,
        has_reference=has_reference,
        is_checkpointed=False,
        micro_batch=1,
        weight_bytes=2,
    )
    totals: dict[str, int] = {"rollout": 0, "reference": 0, "update": 0}
    for group in groups:
        (prompt,) = policy.encoder.prompts([group[0].example])
        images = policy.encoder.images.encode(prompt.images)
        workload = Workload(
            prompts=1,
            group_size=len(group),
            prompt_tokens=len(prompt.input_ids),
            caption_tokens=round(sum(len(r.completion_ids) for r in group) / len(group)),
            images=tuple(
                tuple(image.inputs["image_grid_thw"][0].tolist())
                if "image_grid_thw" in image.inputs
                else (1, *image.size)
                for image in images
            ),
        )
        flops = step_costs(policy.network.config, workload, training, engine.scheme).flops
        totals["rollout"] += flops.vision + flops.prefill + flops.decode
        totals["reference"] += flops.reference
        totals["update"] += flops.update
    return totals


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
