"""The model that is trained, and the frozen one that it is held to."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import Cache

from repic.models import sharding
from repic.models.encoder import PromptBatch, PromptEncoder
from repic.models.engine.attention import Packing
from repic.models.engine.logprobs import TokenLogprobs, score
from repic.models.families import EncodedImage, Family

T = TypeVar("T")


class Injection(NamedTuple):
    """Features of pictures that enter behind the first layers of the language model.

    ``mask`` is True where a picture's feature stands; ``features`` are for n layers.
    """

    mask: Bool[Tensor, "B L"]
    features: Float[Tensor, "shown n_H"]


class Policy(nn.Module):
    """A vision-language model with its encoder.

    Args:
        model: a Hugging Face model, with peft's adapters around it or not.
        encoder: makes its inputs.
        source: the directory that it was loaded from.
        stop_ids: tokens that end a completion.
        export: what ``repic.models.export`` writes: see ``load_policy``.
    """

    def __init__(
        self,
        model: nn.Module,
        encoder: PromptEncoder,
        *,
        source: Path,
        stop_ids: tuple[int, ...],
        export: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.encoder = encoder
        self.source = source
        self.stop_ids = stop_ids
        self.export = export
        # In tuples, so that they are no submodules: neither saved nor trained with the policy.
        self._acting: tuple[nn.Module, ...] = ()
        self._reference: tuple[nn.Module, ...] = ()
        self.sharding: sharding.Sharding | None = None
        self._gathered: set[int] = set()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def family(self) -> Family:
        """What is special about the model's family."""
        return self.encoder.family

    @property
    def has_adapters(self) -> bool:
        """Whether low-rank adapters are trained, and not the weights themselves."""
        return isinstance(self.model, PeftModel)

    @property
    def trains_adapters_alone(self) -> bool:
        """Whether training changes low-rank adapters and nothing else."""
        trained = (name for name, p in self.model.named_parameters() if p.requires_grad)
        return self.has_adapters and all(".lora_" in name for name in trained)

    @property
    def network(self) -> Any:
        """The Hugging Face model that computes: the policy's own, or the reference's."""
        model = self._acting[0] if self._acting else self.model
        return model.get_base_model() if isinstance(model, PeftModel) else model

    def trainable_parameters(self) -> list[nn.Parameter]:
        """List what the optimizer updates."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def shard(self, device: torch.device) -> None:
        """Share the weights out over all processes, each of which computes on its device."""
        self.sharding = sharding.Sharding(self.model, self.family, device)

    def run(self, work: Callable[[], T]) -> T:
        """Do what one pass of the acting model takes, gradients or not.

        Sharded weights are gathered for it, once whatever the work: all processes come here equally
        often.
        """
        if self.sharding is None:
            return work()
        return sharding.run(self._acting[0] if self._acting else self.model, work)

    @contextmanager
    def gathered(self, *, reference: bool = False) -> Iterator[None]:
        """Hold whole weights inside this context, the policy's or its reference's.

        Processes that share them enter it together, and then go on without one another.
        """
        model = self._reference[0] if reference and self._reference else self.model
        if self.sharding is None or id(model) in self._gathered:
            yield
            return
        self._gathered.add(id(model))
        try:
            with sharding.gathered(model):
                yield
        finally:
            self._gathered.remove(id(model))

    def vision_parameters(self) -> list[nn.Parameter]:
        """List the weights of the vision tower and its projector, trained or not."""
        named = self.model.named_parameters()
        return [p for name, p in named if not self.family.is_language(name)]

    def embed(self, prompts: PromptBatch) -> tuple[Float[Tensor, "B P H"], Injection | None]:
        """Embed prompts, with the features of each distinct picture computed once."""
        embeddings = self.embed_tokens(prompts.input_ids)
        if not prompts.images:
            return embeddings, None
        features = self.picture_features(prompts.images)
        shown = [features[i] for i in prompts.image_index.tolist()]
        return self.show(embeddings, prompts.image_mask, shown)

    def show(
        self,
        embeddings: Float[Tensor, "B L H"],
        mask: Bool[Tensor, "B L"],
        features: Sequence[Float[Tensor, "_ n_H"]],
    ) -> tuple[Float[Tensor, "B L H"], Injection | None]:
        """Put features of pictures, in the order shown, where the mask is True.

        Returns:
            The embeddings, and what enters behind later layers, in families that have it.
        """
        width = embeddings.shape[-1]
        shown = torch.cat(list(features)).to(embeddings.dtype)
        embeddings = embeddings.masked_scatter(mask[..., None], shown[:, :width])
        return embeddings, Injection(mask, shown[:, width:]) if self.family.injected else None

    def picture_features(self, images: Sequence[EncodedImage]) -> list[Float[Tensor, "_ n_H"]]:
        """Return what the language model sees of each picture; see ``Family.features``."""
        features: dict[int, Tensor] = {}
        for kind in dict.fromkeys(image.is_alone for image in images):
            same = [i for i, image in enumerate(images) if image.is_alone == kind]
            some = [images[i] for i in same]
            inputs = self.family.lay_out(some)
            # Grids are asked by Python, which would wait for a GPU.
            moved = {k: x.to(self.device) for k, x in inputs.items() if not k.endswith("_grid_thw")}
            inputs |= moved
            output = self.network.model.get_image_features(**inputs, return_dict=True)
            features.update(zip(same, self.family.features(output, some), strict=True))
        return [features[i] for i in range(len(images))]

    def embed_tokens(self, input_ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L H"]:
        """Look tokens up."""
        return self.network.get_input_embeddings()(input_ids)

    def hidden_states(
        self,
        embeddings: Float[Tensor, "B L H"],
        *,
        position_ids: Int[Tensor, "axes B L"],
        attention_mask: Bool[Tensor, "B past_and_present"] | None = None,
        cache: Cache | None = None,
        packing: Packing | None = None,
        injection: Injection | None = None,
    ) -> Float[Tensor, "B L H"]:
        """Run the language model.

        Args:
            position_ids: always given; see ``repic.models.positions``.
            attention_mask: False on padding; None with ``packing``.
            cache: keys and values of the past; is extended.
            packing: attends in place of the library.
            injection: features that enter behind later layers; its mask may end earlier.
        """
        extra: dict[str, Any] = {}
        if packing is not None:
            # A mask of four dimensions is handed on as it is: the library makes none of its own,
            # which would have L² places, and nobody looks at this one.
            attention_mask = embeddings.new_zeros(1, 1, 1, 1)
            extra["packing"] = packing
        if injection is not None and self.family.injected is not None:
            _, places, layers = self.family.injected
            mask, features = injection
            extra[places] = pad(mask, (0, embeddings.shape[1] - mask.shape[1]))
            extra[layers] = features.split(embeddings.shape[-1], dim=-1)
        return getattr(self.network.model, self.family.language)(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids if len(position_ids) > 1 else position_ids[0],
            past_key_values=cache,
            use_cache=cache is not None,
            **extra,
        ).last_hidden_state

    def logits(self, hidden: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
        """Apply the language model's head."""
        return self.network.get_output_embeddings()(hidden)

    def score(
        self,
        hidden: Float[Tensor, "tokens H"],
        completions: Sequence[Int[Tensor, " _"]],
        *,
        entropy: bool,
    ) -> TokenLogprobs:
        """Score completions from what predicts their tokens; see ``engine.logprobs``."""
        vocabulary = self.network.get_output_embeddings().out_features
        return score(hidden, completions, self.logits, vocabulary=vocabulary, entropy=entropy)

    def freeze_reference(self) -> None:
        """Remember the present policy as the reference.

        Weights that are not trained are shared and not copied. With adapters there is nothing to
        copy: the reference is the model without them, unless the vision tower moves as well.
        """
        if not self._reference_is_copy:
            return
        if self.sharding is not None:
            if not self._reference:
                self._reference = (self.sharding.copy_of(self.model),)
            own = dict(self.model.named_parameters())
            for name, kept in self._reference[0].named_parameters():
                if kept is not own[name]:  # as a frozen tower's is
                    sharding.own_slice(kept).copy_(sharding.own_slice(own[name]))
            return
        # What the copier finds in its memo it takes as it is.
        shared = {id(p): p for p in self.model.parameters() if not p.requires_grad}
        reference = copy.deepcopy(self.model, dict(shared)).eval().requires_grad_(False)
        self._reference = (reference,)

    def reference_weights(self) -> dict[str, Tensor]:
        """The reference's own copies of weights that are trained; none if it shares them all."""
        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        return {
            name: parameter
            for reference in self._reference
            for name, parameter in reference.named_parameters()
            if name in trained
        }

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Let the reference compute inside this context; without gradients."""
        if self._reference_is_copy and not self._reference:
            raise ValueError("there is no reference yet: call freeze_reference() first")
        model: Any = self.model
        is_bare = self.has_adapters and not self._reference
        adapters_off = model.disable_adapter() if is_bare else nullcontext()
        self._acting = self._reference
        try:
            with adapters_off, torch.no_grad():
                yield
        finally:
            self._acting = ()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch dropout and checkpointing off inside this context.

        The library drops the key-value cache of a model that trains with checkpointing.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    @property
    def _reference_is_copy(self) -> bool:
        """Whether training changes weights that the reference needs."""
        return bool(self.trainable_parameters()) and not self.trains_adapters_alone

    def _apply(self, fn: Any, recurse: bool = True) -> "Policy":
        """Move the reference with the policy, as it is no submodule."""
        for reference in self._reference:
            reference._apply(fn)
        return super()._apply(fn, recurse)
