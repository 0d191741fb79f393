"""Memory of a GRPO step on one device, estimated.

Counted is what the passes must hold. Not counted: the vision tower's working memory, kernels'
scratch space, the allocator's fragmentation, pixels, communication buffers.
"""

from dataclasses import dataclass, replace
from typing import Any

from repic.models.costs.sizes import language, num_adapter_parameters, num_parameters
from repic.models.costs.workload import Scheme, Training, Workload, scoring_work

_FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Args:
        weights: of the model and its adapters.
        reference: the reference's copy of what is trained; 0 with adapters, which are switched off.
        gradients: of what is trained.
        optimizer: Adam's two moments.
        cache: keys and values at the end of the rollout, of all of the step's captions.
        activations: kept for the backward pass of one micro-batch.
        all_activations: the same without checkpointing; not in ``peak``.
        logits: at the captions' places of one micro-batch, in float32.
        all_logits: the same at every place of the rows, for trainers that hold them; not in
            ``peak``.
    """

    weights: int
    reference: int
    gradients: int
    optimizer: int
    cache: int
    activations: int
    all_activations: int
    logits: int
    all_logits: int

    @property
    def peak(self) -> int:
        """The larger of rollout and update; the rollout holds no gradients."""
        always = self.weights + self.reference + self.optimizer
        return always + max(self.cache, self.gradients + self.activations + self.logits)


def step_memory(config: Any, workload: Workload, training: Training, scheme: Scheme) -> Memory:
    """Estimate what a step holds.

    Adapters are in float32 whatever the model is in, as peft makes them; gradients and moments are
    in the precision of what they belong to (no float32 masters of bfloat16 weights).
    """
    width, rank = training.weight_bytes, training.lora_rank
    sizes = num_parameters(config)
    adapters = _FLOAT32 * num_adapter_parameters(config, rank or 0)
    trained = adapters if rank else width * sizes.language
    groups = min(training.micro_batch, workload.prompts)
    places = scoring_work(workload, scheme).times(groups)
    return Memory(
        weights=width * sizes.total + adapters,
        reference=0 if rank or not training.has_reference else trained,
        gradients=trained,
        optimizer=2 * trained,
        cache=cache_bytes(config, workload, scheme, width=width),
        activations=activation_bytes(config, places.tokens, training),
        all_activations=activation_bytes(
            config, places.tokens, replace(training, is_checkpointed=False)
        ),
        logits=logits_bytes(config, places.predicted),
        all_logits=logits_bytes(config, groups * _row_tokens(workload)),
    )


def cache_bytes(config: Any, workload: Workload, scheme: Scheme, *, width: int) -> int:
    """Keys and values of all of a step's prompts and captions after the last decoded token.

    ``2 * layers * key size * width`` a token. A prompt's are there once for each of its G captions,
    unless the scheme's kernels read one copy.
    """
    lm = language(config)
    captions = workload.group_size * (workload.caption_tokens - 1)
    copies = 1 if scheme.shares_cache else workload.group_size
    tokens = workload.prompts * (copies * workload.prompt_tokens + captions)
    return 2 * lm.layers * lm.key * width * tokens


def activation_bytes(config: Any, tokens: int, training: Training) -> int:
    """What autograd keeps of the language model's layers, for attention that keeps no scores.

    With checkpointing, each layer's input and all that one layer keeps while its backward runs.

    Not counted: keys and values repeated for all heads where a kernel wants them so.
    """
    lm = language(config)
    layer = tokens * layer_bytes(config, training)
    if training.is_checkpointed:
        return lm.layers * tokens * lm.hidden * training.weight_bytes + layer
    return lm.layers * layer


def layer_bytes(config: Any, training: Training) -> int:
    """Bytes per token that the library's layer keeps for its backward pass, of width w.

    With hidden size H, intermediate I, queries Q, keys K (all per token):

    - the inputs of both norms, in float32: 8 H, and a float32 for each norm: 8
    - queries, keys, values: w (Q + 2 K); attention's output: w Q, and a float32 per head
    - the gate, its activation and the other branch: 3 w I
    - weights trained: the norms' scaled inputs and their outputs, 4 w H, and down's input, w I
    - adapters: for every projection its input, dropped out and in float32, 4 (5 H + Q + I), the
      mask (a byte each, as on a GPU), 5 H + Q + I, and the low-rank values: 4 · 7 · rank
    """
    lm, width = language(config), training.weight_bytes
    shared = 2 * _FLOAT32 * (lm.hidden + 1) + _FLOAT32 * lm.heads
    shared += width * (2 * lm.query + 2 * lm.key + 3 * lm.intermediate)
    if training.lora_rank is None:
        return shared + width * (4 * lm.hidden + lm.intermediate)
    inputs = sum(n for n, _ in lm.projections)
    low_rank = _FLOAT32 * training.lora_rank * len(lm.projections)
    return shared + (_FLOAT32 + 1) * inputs + low_rank


def logits_bytes(config: Any, positions: int) -> int:
    """``4 * positions * vocabulary``: in float32 once, the least that a log-softmax keeps.

    For a head that is applied in chunks, ``positions`` is the chunk's length.
    """
    return _FLOAT32 * positions * language(config).vocabulary


def _row_tokens(workload: Workload) -> int:
    """Places in a group's rows of prompt and caption."""
    return workload.group_size * (workload.prompt_tokens + workload.caption_tokens - 1)
