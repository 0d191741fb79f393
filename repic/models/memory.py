"""How many bytes a step holds, by arithmetic.

Memory is what the passes must hold. Not counted: the vision tower's working memory, kernels'
scratch space, the allocator's fragmentation, pixels, communication buffers. Adapters are in
float32 whatever the model is in, as peft makes them; gradients and moments are in the precision of
what they belong to (no float32 masters of bfloat16 weights).

``python -m repic.bench bench=full`` holds it against what torch itself is seen to hold.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from repic.models.costs import ModelCosts, Scheme, Work, Workload, scoring_work
from repic.models.families import family_of
from repic.models.policy import Policy

_FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class Training:
    """How a step is computed.

    Args:
        lora_rank: of the adapters that are trained; None trains the language model.
        has_reference: captions are scored by a reference as well.
        is_checkpointed: layers are computed again in the backward pass.
        weight_bytes: of one number of the model.
    """

    lora_rank: int | None
    has_reference: bool
    is_checkpointed: bool
    weight_bytes: int


class StepMemory(NamedTuple):
    """Bytes that a step holds.

    Args:
        weights: of the model and its adapters, and the reference's copy of what is trained (none
            with adapters, which are switched off).
        trained: gradients of what is trained; Adam's moments are twice as many.
        cache: keys and values at the end of the rollout.
        activations: what autograd keeps of one micro-batch: with checkpointing, each layer's input
            and all that one layer keeps while its backward runs.
        logits: in float32, at the captions' places of one micro-batch.
    """

    weights: int
    trained: int
    cache: int
    activations: int
    logits: int

    @property
    def rollout(self) -> int:
        """What a rollout holds: no gradients."""
        return self.weights + 2 * self.trained + self.cache

    @property
    def update(self) -> int:
        return self.weights + 3 * self.trained + self.activations + self.logits

    @property
    def peak(self) -> int:
        return max(self.rollout, self.update)


def layer_bytes(text: Any, *, width: int, lora_rank: int | None) -> int:
    """Bytes per token that the library's layer keeps for its backward pass, of width w.

    With hidden size H, intermediate I, queries Q, keys K (all per token):

    - the inputs of both norms, in float32: 8 H, and a float32 for each norm: 8
    - queries, keys, values: w (Q + 2 K); attention's output: w Q, and a float32 per head
    - the gate, its activation and the other branch: 3 w I
    - weights trained: the norms' scaled inputs and their outputs, 4 w H, and down's input, w I
    - adapters: for every projection its input, dropped out and in float32, 4 (5 H + Q + I), the
      mask (a byte each, as on a GPU), 5 H + Q + I, and the low-rank values: 4 · 7 · rank

    Not counted: keys and values repeated for all heads where a kernel wants them so.
    """
    hidden, wide, heads = text.hidden_size, text.intermediate_size, text.num_attention_heads
    size = getattr(text, "head_dim", None) or hidden // heads
    query, key = heads * size, text.num_key_value_heads * size
    shared = 2 * _FLOAT32 * (hidden + 1) + _FLOAT32 * heads
    shared += width * (2 * query + 2 * key + 3 * wide)
    if lora_rank is None:
        return shared + width * (4 * hidden + wide)
    return shared + (_FLOAT32 + 1) * (5 * hidden + query + wide) + _FLOAT32 * 7 * lora_rank


def step_memory(network: Any, training: Training, *, cached: int, micro_batch: Work) -> StepMemory:
    """Estimate the bytes that a step holds.

    Args:
        network: the library's model, with or without adapters; it may lie on the meta device.
        cached: tokens whose keys and values are kept at the end of the rollout.
        micro_batch: what goes through the language model together in the update.
    """
    width, rank = training.weight_bytes, training.lora_rank
    model, text = ModelCosts(network, family_of(network.config)), network.config.get_text_config()
    trained = model.trained * (_FLOAT32 if rank else width)
    reference = 0 if rank or not training.has_reference else trained
    kept = text.num_hidden_layers * layer_bytes(text, width=width, lora_rank=rank)
    if training.is_checkpointed:
        inputs = text.num_hidden_layers * text.hidden_size * width
        kept = inputs + kept // text.num_hidden_layers
    return StepMemory(
        weights=width * model.parameters + _FLOAT32 * model.adapters + reference,
        trained=trained,
        cache=model.cached * width * cached,
        activations=micro_batch.tokens * kept,
        logits=_FLOAT32 * micro_batch.predicted * model.vocabulary,
    )


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """A step on one device, as far as it decides on memory.

    Args:
        prompts: of the step, on this device.
        group_size: captions of each.
        prompt_tokens: of a prompt, pictures included.
        caption_tokens: most of a caption.
        micro_batch_tokens: most that go through the model together in the update.
        training: how it is computed.
        scheme: what is shared by a group.
    """

    prompts: int
    group_size: int
    prompt_tokens: int
    caption_tokens: int
    micro_batch_tokens: int
    training: Training
    scheme: Scheme

    @property
    def portions(self) -> list[int]:
        """Values of ``micro_batch_tokens`` between which memory jumps, the largest first.

        Whole groups, and parts of one, where captions share their prompt; else rows.
        """
        if not self.scheme.shares_scoring:
            row = self.prompt_tokens + self.caption_tokens
            return [rows * row for rows in range(self.prompts * self.group_size, 0, -1)]
        group = self.prompt_tokens + self.group_size * self.caption_tokens
        parts = (self.prompt_tokens + n * self.caption_tokens for n in range(self.group_size))
        return [*(n * group for n in range(self.prompts, 0, -1)), *[*parts][:0:-1]]

    @property
    def micro_batch(self) -> Work:
        """What goes through the language model together; at least a caption with its prompt."""
        fitting = [tokens for tokens in self.portions if tokens <= self.micro_batch_tokens]
        tokens = fitting[0] if fitting else self.portions[-1]
        one = Workload(1, 1, self.prompt_tokens, self.caption_tokens, 0)
        if not self.scheme.shares_scoring:
            rows = tokens // (self.prompt_tokens + self.caption_tokens)
            return scoring_work(one, self.scheme).times(rows)
        group = self.prompt_tokens + self.group_size * self.caption_tokens
        whole = replace(one, group_size=self.group_size)
        if tokens >= group:
            return scoring_work(whole, self.scheme).times(tokens // group)
        captions = (tokens - self.prompt_tokens) // self.caption_tokens
        return scoring_work(replace(one, group_size=captions), self.scheme)

    def memory(self, network: Any) -> StepMemory:
        """Estimate what the step holds if all captions are as long as allowed."""
        copies = 1 if self.scheme.shares_scoring else self.group_size
        captions = self.group_size * (self.caption_tokens - 1)
        return step_memory(
            network,
            self.training,
            cached=self.prompts * (copies * self.prompt_tokens + captions),
            micro_batch=self.micro_batch,
        )


def training_of(policy: Policy, *, has_reference: bool) -> Training:
    """Say how a policy is trained."""
    model: Any = policy.model
    return Training(
        lora_rank=model.peft_config["default"].r if policy.has_adapters else None,
        has_reference=has_reference,
        is_checkpointed=bool(policy.network.is_gradient_checkpointing),
        weight_bytes=policy.network.dtype.itemsize,
    )
