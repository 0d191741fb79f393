"""Boxes for retrieval, found by words: OWL-ViT, OWLv2 or Grounding DINO as a proposer.

The paper's detector is YOLO-World; these are of the same kind, and come with transformers.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from PIL import Image

from repic.detectors.open_vocabulary import ZeroShotModel, as_query, find_detector
from repic.models.directory import is_on_hub
from repic.types import Box
from repic.values import Count, Device, Probability, Text

KEY = "retrieval.proposer.path"


class OpenVocabularyRegions:
    """The boxes that fit any of the kinds of things in the album, best first.

    Args:
        path: a directory, ``package://<package>/<folder>``, or an id on the hub.
        threshold: in (0, 1), on the model's own scale; the models' scales differ.
        kinds: what to look for; None: the album's kinds.
        most: boxes that are returned, at most.
        device: "cpu", "cuda", ...; "auto" is this process's GPU where there is one.
    """

    def __init__(
        self,
        *,
        path: Text,
        threshold: Probability,
        kinds: Sequence[Text] | None,
        most: Count,
        device: Device,
    ) -> None:
        if not is_on_hub(path):
            find_detector(path, key=KEY)
        self.path, self.threshold, self.most, self.device = path, threshold, most, device
        self.kinds = None if kinds is None else tuple(kinds)

    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        """Return the boxes of what is looked for."""
        kinds = looked_for if self.kinds is None else self.kinds
        queries = list(dict.fromkeys(query for query in map(as_query, kinds) if query))
        if not queries:
            raise ValueError(
                "retrieval.proposer.kinds: the album does not say what to look for; list it"
            )
        found = self._model.boxes(picture, queries)
        scores, corners = torch.cat([s for s, _ in found]), torch.cat([c for _, c in found])
        order = scores.argsort(descending=True, stable=True)
        taken = order[scores[order] >= self.threshold][: self.most]
        return [Box(*box) for box in corners[taken].tolist()]

    @cached_property
    def _model(self) -> ZeroShotModel:
        return ZeroShotModel(self.path, self.device, key=KEY)
