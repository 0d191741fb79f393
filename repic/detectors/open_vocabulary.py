"""An entity detector that looks: zero-shot object detection, a query of words for each concept.

OWL-ViT (https://arxiv.org/abs/2205.06230), OWLv2 (https://arxiv.org/abs/2306.09683) and Grounding
DINO (https://arxiv.org/abs/2303.05499), from a directory or the hub, as the Auto classes load them.

Words find a kind of being, not one of its kind: an absent concept whose description also fits
somebody in the picture is taken for present. How good such a verdict is depends on how much the
descriptions tell, and on the threshold; look at ``detect`` on some pictures before trusting it.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from repic.files import read_json
from repic.models.directory import find_model, is_on_hub
from repic.types import Box, Example, Reference, picture_content
from repic.values import Count, Device, Probability, Text
from repic.weights import load_whole

KEY = "detector.path"
# What reads several queries beside one picture, and what reads one text.
_SEVERAL = ("owlvit", "owlv2")
_ONE = ("grounding-dino", "mm-grounding-dino")
Asked = tuple[str, tuple[str, ...]]  # what the picture shows, and what is looked for in it


class Detection(NamedTuple):
    """The box that fits a query best, and how well: a probability."""

    score: float
    box: Box


class OpenVocabularyDetector:
    """From an example to the names whose query has a box of ``threshold`` or more in its picture.

    A concept's query is, of these, the first that there is: its entry in ``queries``; the first
    sentence of its info; the words of its name, if ``names_as_queries``. An example with a concept
    that has none, or without a picture, cannot be told about: None.

    The model is loaded when the first example comes (a directory that is not there is refused at
    once), and looks at a picture once for the same queries, however many captions a group has.

    Args:
        path: a directory, ``package://<package>/<folder>``, or an id on the hub.
        threshold: in (0, 1), on the model's own scale; the models' scales differ.
        queries: what to look for, by name.
        names_as_queries: names are words that tell (``<pink_sunglasses>``), not made up.
        device: "cpu", "cuda", "cuda:1", ...; "auto" is this process's GPU where there is one.
        cache_size: verdicts that are kept, the latest; as many as prompts that come again.
    """

    def __init__(
        self,
        path: Text,
        *,
        threshold: Probability,
        queries: Mapping[str, Text],
        names_as_queries: bool,
        device: Device,
        cache_size: Count,
    ) -> None:
        if not is_on_hub(path):
            find_detector(path)
        self.path, self.threshold, self.device = path, threshold, device
        self.queries, self.names_as_queries = dict(queries), names_as_queries
        self.cache_size = cache_size
        self._seen: OrderedDict[Asked, list[Detection]] = OrderedDict()

    def __call__(self, example: Example) -> frozenset[str] | None:
        found = self.detect(example)
        if found is None:
            return None
        return frozenset(name for name, best in found.items() if best.score >= self.threshold)

    def detect(self, example: Example) -> dict[str, Detection] | None:
        """Return the best box of every concept of the prompt, however bad it is."""
        texts = [self._query(reference) for reference in example.references]
        known = tuple(text for text in texts if text is not None)
        if example.query is None or len(known) < len(texts):
            return None
        asked = (picture_content(example.query), known)
        if asked not in self._seen:
            self._seen[asked] = self._model.look(example.query.load(), known) if known else []
            if len(self._seen) > self.cache_size:
                self._seen.popitem(last=False)
        self._seen.move_to_end(asked)
        return dict(zip(example.pool, self._seen[asked], strict=True))

    def _query(self, reference: Reference) -> str | None:
        by_name = reference.name if self.names_as_queries else ""
        for text in (self.queries.get(reference.name), reference.info, by_name):
            query = as_query(text or "")
            if query:
                return query
        return None

    @cached_property
    def _model(self) -> "ZeroShotModel":
        return ZeroShotModel(self.path, self.device)


class ZeroShotModel:
    """A detector's weights and processor, whichever of the architectures it is."""

    def __init__(self, path: str, device: str, *, key: str = KEY) -> None:
        folder, kind = find_detector(path, key=key)
        model = load_whole(AutoModelForZeroShotObjectDetection, folder, may_have=True)
        self.reads_several = kind in _SEVERAL
        self.model = model.eval().to(choose_device(device))
        self.processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=False)

    def look(self, picture: Image.Image, queries: Sequence[str]) -> list[Detection]:
        """Find the best box for every query by itself."""
        found = []
        for scores, corners in self.boxes(picture, queries):
            best = int(scores.argmax())
            found.append(Detection(scores[best].item(), Box(*corners[best].tolist())))
        return found

    def boxes(
        self, picture: Image.Image, queries: Sequence[str]
    ) -> list[tuple[Float[Tensor, " boxes"], Float[Tensor, "boxes 4"]]]:
        """Return every query's score for every box, and the boxes, inside the picture.

        The processors' own reading gives a box to one query alone; of two concepts with the same
        description the second would never be found.
        """
        if self.reads_several:
            inputs, outputs = self._forward(picture, [list(queries)])
            columns = [outputs.logits[:, :, [i]] for i in range(len(queries))]
            return [self._read(picture, inputs, outputs, logits) for logits in columns]
        found = []
        for query in queries:
            inputs, outputs = self._forward(picture, [[query]])
            found.append(self._read(picture, inputs, outputs, outputs.logits))
        return found

    @torch.inference_mode()
    def _forward(self, picture: Image.Image, texts: list[list[str]]) -> tuple[Any, Any]:
        config = self.model.config
        longest = (
            config.text_config.max_position_embeddings
            if self.reads_several
            else config.max_text_len
        )
        text = {"truncation": True, "max_length": longest, "return_tensors": "pt"}
        inputs = self.processor(images=picture, text=texts, **text).to(self.model.device)
        return inputs, self.model(**inputs)

    def _read(
        self, picture: Image.Image, inputs: Any, outputs: Any, logits: Tensor
    ) -> tuple[Float[Tensor, " boxes"], Float[Tensor, "boxes 4"]]:
        """Let the processor turn a query's logits [1, boxes, tokens] into scores and pixels."""
        (found,) = self.processor.post_process_grounded_object_detection(
            SimpleNamespace(
                logits=logits, pred_boxes=outputs.pred_boxes, input_ids=inputs.input_ids
            ),
            threshold=-1.0,  # all boxes
            target_sizes=[(picture.height, picture.width)],
        )
        corners = found["boxes"].cpu()
        inside = corners.clamp(torch.zeros(4), torch.tensor([*picture.size, *picture.size]))
        return found["scores"].cpu(), inside


def choose_device(device: str) -> torch.device:
    """Return a device; "auto" is this process's GPU where there is one."""
    if device == "auto":
        own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        device = own if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def find_detector(path: str, *, key: str = KEY) -> tuple[Path, str]:
    """Return the directory of a detector, and which architecture it is."""
    folder = find_model(path, key=key)
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in _SEVERAL + _ONE:
        raise ValueError(f"{key}: {folder} is a {kind}, not one of {', '.join(_SEVERAL + _ONE)}")
    return folder, kind


def as_query(text: str) -> str:
    """What to look for, from a name or an info: its first sentence, without names and full stop.

    Detectors read some sixteen tokens, and Grounding DINO takes a full stop for the next query.

    >>> as_query("A cute dog. Its fur, <bo>'s, is brown."), as_query("<pink_sunglasses>")
    ('A cute dog', 'pink sunglasses')
    """
    if re.fullmatch(r"<[^<>]+>", text):
        return " ".join(re.findall(r"[^\W_]+", text))
    first = re.split(r"[.!?](?:\s|$)", re.sub(r"<[^<>]*>", " ", text).strip())[0]
    return " ".join(first.replace(".", " ").split())
