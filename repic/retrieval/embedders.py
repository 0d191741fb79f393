"""Pictures as vectors for retrieval: by a policy's own vision tower, or by CLIP.

Both are ``Embedder``s of ``repic.retrieval.parts``. Weights are read when the first pictures come,
or the version is asked for; a directory that is not there is refused at once.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, CLIPModel

from repic.detectors.open_vocabulary import choose_device
from repic.files import at, key_of
from repic.local import lacking
from repic.models.directory import find_model, is_on_hub
from repic.models.families import family_of
from repic.models.images import image_processor
from repic.retrieval.parts import NetworkEmbedder
from repic.values import Amount, Device, Side, Text
from repic.weights import load_whole, naming

KEY = "retrieval.embedder.path"


class VisionTowerEmbedder(NetworkEmbedder):
    """What a vision-language model's tower sees of a picture, pooled over its places.

    Args:
        path: of the model: a directory, ``package://<package>/<folder>``, or an id on the hub.
        layer: "tower" for the vision tower's own output, "projector" for what the language model
            is given.
        pooling: "mean" or "max" over places.
        side: pictures are scaled to this square first, in pixels; the size at which the tower
            knows beings best.
        batch_size: pictures that go through the tower at a time.
        device: "cpu", "cuda", ...; "auto" is this process's GPU where there is one.
    """

    def __init__(
        self,
        *,
        path: Text,
        layer: Literal["tower", "projector"],
        pooling: Literal["mean", "max"],
        side: Side,
        batch_size: Amount,
        device: Device,
    ) -> None:
        super().__init__(batch_size)
        if not is_on_hub(path):
            find_model(path, key=KEY)
        self.path, self.layer, self.pooling, self.side = path, layer, pooling, side
        self.device = device

    @cached_property
    def version(self) -> str:
        """Hash of what sees, not of the language model, which training changes."""
        model, processor = self._loaded
        family = family_of(model.config)
        seeing = ((n, w) for n, w in model.state_dict().items() if not family.is_language(n))
        settings = [self.layer, self.pooling, self.side, processor.to_dict()]
        return f"tower {hash_weights(seeing)} {key_of(settings)}"

    def features(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "N D"]:
        model, processor = self._loaded
        size = (self.side, self.side)
        squares = [picture.convert("RGB").resize(size) for picture in pictures]
        inputs = processor(images=squares, return_tensors="pt").to(model.device)
        seen = model.model.get_image_features(**inputs, return_dict=True)
        places = seen.last_hidden_state
        if self.layer == "projector":
            places = torch.cat(list(seen.pooler_output))
        # All pictures have one size, so each has as many places as the others.
        places = places.reshape(len(squares), -1, places.shape[-1])
        return places.mean(dim=1) if self.pooling == "mean" else places.amax(dim=1)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        folder = find_model(self.path, key=KEY)
        model = load_whole(
            AutoModelForImageTextToText, folder, dtype="auto", attn_implementation="sdpa"
        )
        # Who writes is not needed, and is the larger part by far.
        family = family_of(model.config)
        setattr(model.model, family.language, nn.Identity())
        model.lm_head = nn.Identity()
        if family.quicken is not None:
            family.quicken(model)
        return model.eval().to(choose_device(self.device)), image_processor(folder)


class ClipEmbedder(NetworkEmbedder):
    """CLIP's image embeddings (https://arxiv.org/abs/2103.00020), as RAP and RePIC retrieve by.

    Args:
        path: a local directory, or an id on the hub: RePIC's is openai/clip-vit-large-patch14-336.
        batch_size: pictures that go through the model at a time.
        device: "cpu", "cuda", ...; "auto" is this process's GPU where there is one.
    """

    def __init__(self, *, path: Text, batch_size: Amount, device: Device) -> None:
        super().__init__(batch_size)
        if not is_on_hub(path) and (problem := lacking(KEY, path, "a CLIP model")) is not None:
            raise ValueError(problem)
        self.path, self.device = path, device

    @cached_property
    def version(self) -> str:
        """Hash of the half of CLIP that looks, and of how pictures are prepared for it."""
        model, processor = self._loaded
        seeing = ((n, w) for n, w in model.state_dict().items() if n.startswith("vis"))
        return f"clip {hash_weights(seeing)} {key_of(processor.to_dict())}"

    def features(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "N D"]:
        model, processor = self._loaded
        inputs = processor(images=[p.convert("RGB") for p in pictures], return_tensors="pt")
        return model.get_image_features(**inputs.to(model.device)).pooler_output

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        folder = self.path if is_on_hub(self.path) else Path(self.path).expanduser()
        with at(KEY), naming(folder):
            model, processor = load_whole(CLIPModel, folder), image_processor(folder)
        return model.eval().to(choose_device(self.device)), processor


def hash_weights(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Hash tensors by their names and values, in any order."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(weights, key=lambda pair: pair[0]):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        hashed.update(values.view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()[:16]
