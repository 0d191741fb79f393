"""What a frozen vision tower sees of a picture, computed once.

A picture of a prompt is used by the rollout, the reference and the update of a step, and again by
later prompts that show it. As long as neither tower nor projector is trained, its features stay.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from repic.models.families import EncodedImage
from repic.models.policy import Policy
from repic.types import ImageSource, picture_content

# Numbers that go through a frozen tower together: 256 MiB, or about 55 pictures of 448 × 448.
_PIXELS = 2**26


class FeatureCache:
    """Features of one policy's pictures, by what these show.

    Args:
        max_bytes: those used longest ago are forgotten beyond this; the ones of a call stay.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0  # counted along: there are hundreds of thousands of pictures in a long run
        self._state: tuple[object, ...] = ()

    def features(
        self, policy: Policy, sources: Sequence[ImageSource]
    ) -> dict[str, Float[Tensor, "_ H"]]:
        """Return each distinct picture's features, by its content.

        Nothing is kept, and gradients flow, where anything that makes features is trained.
        """
        distinct = {picture_content(source): source for source in sources}
        weights = policy.vision_parameters()
        if any(weight.requires_grad for weight in weights):
            images = policy.encoder.images.encode(list(distinct.values()))
            return dict(zip(distinct, _features(policy, images), strict=True))
        # In-place changes of a weight, by loading or by an optimizer, raise its version.
        state = tuple((id(w), w._version, w.device, w.dtype) for w in weights)
        if state != self._state:
            self._kept.clear()
            self._bytes = 0
            self._state = state
        missing = [key for key in distinct if key not in self._kept]
        images = policy.encoder.images.encode([distinct[key] for key in missing])
        with torch.no_grad():
            computed = [x for part in _portions(images) for x in _features(policy, part)]
        self._kept.update(zip(missing, computed, strict=True))
        self._bytes += sum(features.nbytes for features in computed)
        for key in distinct:
            self._kept.move_to_end(key)
        found = {key: self._kept[key] for key in distinct}
        self._forget()
        return found

    def _forget(self) -> None:
        """Drop what was used longest ago; the last call's pictures have been handed out."""
        while self._bytes > self.max_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


def _features(policy: Policy, images: Sequence[EncodedImage]) -> list[Tensor]:
    """Run the vision tower; a copy of each part, so that none keeps all of them alive."""
    features = policy.picture_features(images) if images else []
    return [part if part.requires_grad else part.clone() for part in features]


def _portions(images: Sequence[EncodedImage]) -> Iterator[list[EncodedImage]]:
    """Cut a list of pictures into what goes through the tower together."""
    portion: list[EncodedImage] = []
    size = 0
    for image in images:
        pixels = image.inputs["pixel_values"].numel()
        if portion and size + pixels > _PIXELS:
            yield portion
            portion, size = [], 0
        portion.append(image)
        size += pixels
    if portion:
        yield portion
