"""FLOPs, tokens and memory of one GRPO step."""

from dataclasses import dataclass
from typing import Any

from repic.models.costs.flops import (
    backward_flops,
    forward_flops,
    recomputed_flops,
    vision_flops,
)
from repic.models.costs.memory import Memory, step_memory
from repic.models.costs.workload import (
    Scheme,
    Training,
    Workload,
    decode_work,
    prefill_work,
    scoring_work,
)


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one step.

    Args:
        vision: pictures, in all passes.
        prefill: prompts in the rollout.
        decode: captions in the rollout.
        reference: forward of the KL term's reference.
        update: forward and backward.
        recomputed: what gradient checkpointing adds to the update.
    """

    vision: int
    prefill: int
    decode: int
    reference: int
    update: int
    recomputed: int

    @property
    def model(self) -> int:
        """What the step needs: the numerator of MFU."""
        return self.vision + self.prefill + self.decode + self.reference + self.update

    @property
    def hardware(self) -> int:
        """What is executed."""
        return self.model + self.recomputed


@dataclass(frozen=True)
class StepCosts:
    """Costs of one step; ``tokens`` go forward through the language model, in all passes."""

    tokens: int
    flops: Flops
    memory: Memory


def step_costs(config: Any, workload: Workload, training: Training, scheme: Scheme) -> StepCosts:
    """Add up a rollout, the reference's pass and one update.

    Per prompt, with the reference's terms only where there is one:

    - vision: pictures × copies × passes; copies are 1 or G, passes are the rollout, the reference
      and the update, or one for all
    - prefill: P tokens, once or G times
    - decode: G (T - 1) tokens
    - reference: a forward, without adapters, over the group (see ``scoring_work``)
    - update: forward and backward over the group, with adapters

    Args:
        config: a Qwen2_5_VLConfig or LlavaConfig.
    """
    rank = training.lora_rank
    prefill = prefill_work(workload, scheme).times(workload.prompts)
    decode = decode_work(workload).times(workload.prompts)
    update = scoring_work(workload, scheme).times(workload.prompts)
    reference = update.times(int(training.has_reference))
    copies = 1 if scheme.shares_pictures else workload.group_size
    passes = 1 if scheme.keeps_features else 2 + training.has_reference
    encoded = workload.prompts * copies * passes
    again = recomputed_flops(config, update, lora_rank=rank)
    flops = Flops(
        vision=encoded * vision_flops(config, workload.images),
        prefill=forward_flops(config, prefill, lora_rank=rank),
        decode=forward_flops(config, decode, lora_rank=rank),
        reference=forward_flops(config, reference, lora_rank=None),
        update=forward_flops(config, update, lora_rank=rank)
        + backward_flops(config, update, lora_rank=rank),
        recomputed=again if training.is_checkpointed else 0,
    )
    return StepCosts(
        tokens=prefill.tokens + decode.tokens + reference.tokens + update.tokens,
        flops=flops,
        memory=step_memory(config, workload, training, scheme),
    )
