"""What a step of GRPO is asked to do, how it is trained, and how often it computes a prompt."""

from dataclasses import dataclass

from repic.models.costs.flops import Grid, Work, causal_pairs


@dataclass(frozen=True)
class Workload:
    """A step's prompts and captions; all prompts are alike, and no pictures are shared by them.

    Args:
        prompts: B, in one step.
        group_size: G, captions of one prompt.
        prompt_tokens: P, pictures included.
        caption_tokens: T, the end token included.
        images: of one prompt, in patches.
    """

    prompts: int
    group_size: int
    prompt_tokens: int
    caption_tokens: int
    images: tuple[Grid, ...]


@dataclass(frozen=True)
class Training:
    """What is trained, and how.

    Args:
        lora_rank: of adapters on the language model; None trains its weights.
        has_reference: there is a KL term, so the reference scores every caption.
        is_checkpointed: the update keeps layers' inputs only and computes the rest again.
        micro_batch: groups that go through the update at once.
        weight_bytes: of a number in weights and activations: 2 in bfloat16, 4 in float32.
    """

    lora_rank: int | None
    has_reference: bool
    is_checkpointed: bool
    micro_batch: int
    weight_bytes: int


@dataclass(frozen=True)
class Scheme:
    """How much of a group's work is shared by its captions.

    Args:
        shares_prefill: the rollout runs a prompt once and decodes G captions from it; else G times.
        shares_pictures: a pass encodes a prompt's pictures once; else once for every caption.
        shares_scoring: reference and update run a prompt once; else every caption's row has it.
        shares_cache: captions being decoded read one copy of their prompt's keys and values.
        keeps_features: a frozen tower sees a picture once in a step; else once in every pass.
    """

    name: str
    shares_prefill: bool
    shares_pictures: bool
    shares_scoring: bool
    shares_cache: bool
    keeps_features: bool


# G independent requests, as trainers on the library's ``generate`` make them.
NAIVE = Scheme("naive", False, False, False, False, False)
# As ``PlainEngine``: one prefill, whose keys and values are then repeated; rows in the rest.
PLAIN = Scheme("plain", True, True, False, False, False)
# As ``PackedEngine``: a prompt once per group everywhere.
PACKED = Scheme("packed", True, True, True, True, True)
SCHEMES = (NAIVE, PLAIN, PACKED)


def prefill_work(workload: Workload, scheme: Scheme) -> Work:
    """A group's prompt, as often as the scheme runs it; the head at its last place only."""
    prompt = workload.prompt_tokens
    copies = 1 if scheme.shares_prefill else workload.group_size
    return Work(prompt, causal_pairs(prompt), 1).times(copies)


def decode_work(workload: Workload) -> Work:
    """A group's captions, token after token. The last token is drawn and not fed: T - 1 steps."""
    fed = workload.caption_tokens - 1
    pairs = causal_pairs(fed, past=workload.prompt_tokens)
    return Work(fed, pairs, fed).times(workload.group_size)


def scoring_work(workload: Workload, scheme: Scheme) -> Work:
    """A group in the reference or the update's forward; the head at its G T captions' places.

    In rows: G rows of P + T - 1 tokens. Shared: P tokens, then G times T - 1 that see the P and
    their own predecessors. The last token of a caption predicts nothing and is not fed; a trainer
    that feeds it computes one token per row more.
    """
    prompt, fed, group = workload.prompt_tokens, workload.caption_tokens - 1, workload.group_size
    predicted = group * workload.caption_tokens
    if not scheme.shares_scoring:
        row = prompt + fed
        return Work(group * row, group * causal_pairs(row), predicted)
    pairs = causal_pairs(prompt) + group * causal_pairs(fed, past=prompt)
    return Work(prompt + group * fed, pairs, predicted)
