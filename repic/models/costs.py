"""What a step of GRPO computes and keeps, measured on a copy of the model that holds no numbers.

The copy lies on torch's meta device: it has shapes, takes no memory and no time. Torch's counter
sees its matrix products, and what autograd keeps of it is asked for. Both are linear in tokens, but
for attention, so each is measured once a model and then multiplied. Conventions, those of PaLM's
appendix B (https://arxiv.org/abs/2204.02311):

1. A multiplication and its addition are two operations. Norms, activations and softmax are none.
2. Attention counts the pairs of query and key that the mask lets through, not the square that some
   kernels compute.
3. *Model* FLOPs are what the mathematics of a step needs; what gradient checkpointing computes
   again is counted apart.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText

from repic.models.engine.attention import install
from repic.models.families import family_of

_TOKENS = 2  # that are sent through; one would do


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


class Rates(NamedTuple):
    """Operations for a token in all layers, a pair in all heads of them, a place of the head."""

    token: int
    pair: int
    predicted: int

    def of(self, work: Work) -> int:
        return sum(rate * number for rate, number in zip(self, work, strict=True))


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


class MeasuredModel:
    """A model's costs by what goes through it.

    Args:
        config: the library's.
        lora_rank: of adapters on the language model; None trains its weights.
        dtype: of weights and activations; adapters are in float32.

    Attributes:
        parameters, adapters: numbers of weights.
        trained: those of them that are trained; of the model's, the language model's.
        hidden, vocabulary, layers: sizes of the language model.
        cached: numbers that are kept of a token while captions are decoded.
        kept: bytes that autograd keeps of a token, for attention that keeps no scores.
    """

    def __init__(self, config: Any, *, lora_rank: int | None, dtype: torch.dtype) -> None:
        self.family = family_of(config)
        with torch.device("meta"):
            network: Any = AutoModelForImageTextToText.from_config(
                copy.deepcopy(config), attn_implementation="sdpa", dtype=dtype
            )
        if self.family.quicken is not None:
            self.family.quicken(network)
        self.network = network
        named = list(network.named_parameters())
        self.parameters = sum(weight.numel() for _, weight in named)
        for name, weight in named:
            weight.requires_grad = lora_rank is None and self.family.is_language(name)
        self.forward, self.backward, self.kept = self._language()
        self.reference, self.adapters = self.forward, 0
        if lora_rank is not None:
            settings = LoraConfig(r=lora_rank, target_modules=self.family.adapter_targets)
            with torch.device("meta"):
                get_peft_model(network, settings)
            self.forward, self.backward, self.kept = self._language()
            layers = [module for module in network.modules() if isinstance(module, LoraLayer)]
            self.kept += sum(layer.in_features for layer in layers)  # a byte: dropout's mask
            adapted = [w for name, w in network.named_parameters() if ".lora_" in name]
            self.adapters = sum(weight.numel() for weight in adapted)
        self.trained = sum(w.numel() for w in network.parameters() if w.requires_grad)

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
        copies = 1 if scheme.shares_pictures else workload.group_size
        passes = 1 if scheme.keeps_features else 2 + has_reference
        flops = Flops(
            vision=workload.prompts * copies * passes * workload.vision_flops,
            prefill=self.forward.of(prefill),
            decode=self.forward.of(decode),
            reference=self.reference.of(reference),
            update=self.forward.of(update) + self.backward.of(update),
            recomputed=is_checkpointed * self.forward._replace(predicted=0).of(update),
        )
        return flops, prefill.tokens + decode.tokens + reference.tokens + update.tokens

    def _language(self) -> tuple[Rates, Rates, int]:
        """Count forward and backward, and what autograd keeps, of the language model and head.

        A trained matrix costs two forwards in the backward pass, a frozen one under adapters one,
        attention two, as both of its factors are activations.
        """
        text = self.network.config.get_text_config()
        head = self.network.get_output_embeddings().weight
        self.hidden, self.vocabulary = text.hidden_size, head.shape[0]
        self.layers = text.num_hidden_layers
        language = getattr(self.network.model, self.family.language).train()
        install("sdpa")
        attention = _CountedAttention()
        embeddings = torch.empty(1, _TOKENS, self.hidden, dtype=head.dtype, device="meta")
        weights = {w.untyped_storage()._cdata for w in self.network.parameters()}
        kept: dict[int, Any] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage
            return tensor

        saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with FlopCounterMode(display=False) as forward, saved:
            output = language(
                inputs_embeds=embeddings.requires_grad_(),
                attention_mask=torch.zeros(1, 1, 1, 1, device="meta"),
                position_ids=torch.arange(_TOKENS, device="meta")[None],
                use_cache=False,
                packing=attention,
            ).last_hidden_state
        size = sum(x.nbytes() for place, x in kept.items() if place not in weights)
        with FlopCounterMode(display=False) as backward:
            output.sum().backward()
        self.cached = attention.cached // _TOKENS
        one, pair = 2 * head.numel(), attention.pair
        return (
            Rates(forward.get_total_flops() // _TOKENS, pair, one),
            Rates(backward.get_total_flops() // _TOKENS, 2 * pair, one * (1 + head.requires_grad)),
            size // _TOKENS,
        )


@torch.no_grad()
def count_flops(compute: Callable[[], object]) -> int:
    """Count the operations of matrix products and convolutions of some work."""
    with FlopCounterMode(display=False) as counter, _FollowMeta():
        compute()
    return counter.get_total_flops()


class _CountedAttention:
    """Stands for attention that keeps no scores; see ``repic.models.engine.attention.Packing``."""

    def __init__(self) -> None:
        self.pair = self.cached = 0

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float
    ) -> Tensor:
        self.pair += 4 * query.shape[1] * query.shape[3]
        self.cached += key.numel() + value.numel()
        return _Attention.apply(query, key, value)  # pyright: ignore[reportReturnType]


class _Attention(torch.autograd.Function):
    """Keeps what a flash kernel keeps, and computes nothing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        normalizers = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, normalizers)
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(x) for x in ctx.saved_tensors[:3])


class _FollowMeta(TorchDispatchMode):
    """Where something has no numbers, nothing needs any: sizes of pictures have, pixels not."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if any(isinstance(x, Tensor) and x.is_meta for x in tree_flatten((args, kwargs))[0]):
            args, kwargs = tree_map_only(Tensor, lambda x: x.to("meta"), (args, kwargs))
        return func(*args, **kwargs)
