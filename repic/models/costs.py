"""What a step of GRPO computes, from the sizes of a model's matrices.

Conventions, those of PaLM's appendix B (https://arxiv.org/abs/2204.02311):

1. A multiplication and its addition are two operations. Norms, activations and softmax are none.
2. Attention counts the pairs of query and key that the mask lets through, not the square that some
   kernels compute.
3. *Model* FLOPs are what the mathematics of a step needs; what gradient checkpointing computes
   again is counted apart.

What a vision tower computes is not in here: torch's counter sees it in a picture's forward pass.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from repic.models.families import Family


@dataclass(frozen=True)
class Workload:
    """A step's prompts and captions; all prompts are alike, and no pictures are shared by them.

    Args:
        prompts: B, in one step.
        group_size: G, captions of one prompt.
        prompt_tokens: P, pictures included.
        caption_tokens: T, the end token included.
        vision_flops: of the pictures of one prompt, once each.
    """

    prompts: int
    group_size: int
    prompt_tokens: int
    caption_tokens: int
    vision_flops: int


@dataclass(frozen=True)
class Scheme:
    """How much of a group's work is shared by its captions.

    Args:
        shares_rollout: the rollout runs a prompt once, and a pass encodes its pictures once; else
            once for every caption.
        shares_scoring: reference and update run a prompt once, captions being decoded read one copy
            of its keys and values, and a frozen tower sees a picture once in all passes; else
            every caption's row has them all.
    """

    name: str
    shares_rollout: bool
    shares_scoring: bool


# G independent requests, as trainers on the library's ``generate`` make them.
NAIVE = Scheme("naive", False, False)
# As ``PlainEngine``: one prefill, whose keys and values are then repeated; rows in the rest.
PLAIN = Scheme("plain", True, False)
# As ``PackedEngine``: a prompt once per group everywhere.
PACKED = Scheme("packed", True, True)
SCHEMES = (NAIVE, PLAIN, PACKED)


class Work(NamedTuple):
    """What goes through the language model.

    Args:
        tokens: through its layers.
        pairs: of a query and a key that it may see, in one head of one layer.
        predicted: positions at which the head is applied.
    """

    tokens: int
    pairs: int
    predicted: int

    def times(self, number: int) -> "Work":
        """Return the work of so many of it."""
        return Work(self.tokens * number, self.pairs * number, self.predicted * number)


def causal_pairs(tokens: int, past: int = 0) -> int:
    """Count pairs where each token sees all past ones, its predecessors and itself.

    ``tokens * past + tokens * (tokens + 1) / 2``.

    Example:
        >>> causal_pairs(3), causal_pairs(2, past=10)
        (6, 23)
    """
    return tokens * past + tokens * (tokens + 1) // 2


def prefill_work(workload: Workload, scheme: Scheme) -> Work:
    """A group's prompt, as often as the scheme runs it; the head at its last place only."""
    prompt = workload.prompt_tokens
    copies = 1 if scheme.shares_rollout else workload.group_size
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


class Rates(NamedTuple):
    """Operations of a token in all layers, of a pair in all their heads, of a place of the head."""

    token: int
    pair: int
    predicted: int

    def of(self, work: Work) -> int:
        tokens, pairs, predicted = work
        return self.token * tokens + self.pair * pairs + self.predicted * predicted


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one step.

    Args:
        vision: pictures, in all passes.
        prefill: prompts in the rollout.
        decode: captions in the rollout.
        reference: forward of the KL term's reference.
        update: forward and backward.
        recomputed: what gradient checkpointing of every layer adds to the update.
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


class ModelCosts:
    """A model's costs by what goes through it.

    A token takes two operations for each weight of the layers' matrices; in the backward pass, two
    for a frozen matrix and four for one that is trained: gradients of its input and of itself.
    Attention takes twice as much as forward, as both of its factors are activations. Counted though
    autograd may skip it: the gradient that the first layer sends to frozen embeddings.

    Args:
        network: the library's model, with or without adapters; it may lie on the meta device.
        family: the model's.

    Attributes:
        parameters, adapters: numbers of weights.
        trained: those that are trained.
        cached: numbers that are kept of a token while captions are decoded.
        vocabulary: number of tokens.
    """

    def __init__(self, network: Any, family: Family) -> None:
        text = network.config.get_text_config()
        head = network.get_output_embeddings().weight
        skipped = {id(head), id(network.get_input_embeddings().weight)}
        named = list(network.named_parameters())
        matrices = [
            (".lora_" in name, weight)
            for name, weight in named
            if family.is_language(name) and weight.dim() == 2 and id(weight) not in skipped
        ]
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self.cached = 2 * text.num_hidden_layers * text.num_key_value_heads * size
        pair = 4 * text.num_hidden_layers * text.num_attention_heads * size
        token, one = 2 * sum(w.numel() for _, w in matrices), 2 * head.numel()
        weight_gradients = 2 * sum(w.numel() for _, w in matrices if w.requires_grad)
        self.forward = Rates(token, pair, one)
        self.backward = Rates(token + weight_gradients, 2 * pair, one * (1 + head.requires_grad))
        self.reference = Rates(2 * sum(w.numel() for added, w in matrices if not added), pair, one)
        self.adapters = sum(weight.numel() for name, weight in named if ".lora_" in name)
        self.parameters = sum(weight.numel() for _, weight in named) - self.adapters
        self.trained = sum(weight.numel() for _, weight in named if weight.requires_grad)
        self.vocabulary = head.shape[0]

    def step(
        self, workload: Workload, scheme: Scheme, *, has_reference: bool, is_checkpointed: bool
    ) -> tuple[Flops, int]:
        """Add up a rollout, the reference's pass and one update: operations, and tokens.

        Per prompt, with the reference's terms only where there is one:

        - vision: pictures × copies × passes; copies are 1 or G, passes are the rollout, the
          reference and the update, or one for all
        - prefill: P tokens, once or G times
        - decode: G (T - 1) tokens
        - reference: a forward, without adapters, over the group (see ``scoring_work``)
        - update: forward and backward over the group, with adapters
        """
        prefill = prefill_work(workload, scheme).times(workload.prompts)
        decode = decode_work(workload).times(workload.prompts)
        update = scoring_work(workload, scheme).times(workload.prompts)
        reference = update.times(int(has_reference))
        copies = 1 if scheme.shares_rollout else workload.group_size
        passes = 1 if scheme.shares_scoring else 2 + has_reference
        flops = Flops(
            vision=workload.prompts * copies * passes * workload.vision_flops,
            prefill=self.forward.of(prefill),
            decode=self.forward.of(decode),
            reference=self.reference.of(reference),
            update=self.forward.of(update) + self.backward.of(update),
            recomputed=is_checkpointed * self.forward._replace(predicted=0).of(update),
        )
        return flops, prefill.tokens + decode.tokens + reference.tokens + update.tokens
