"""CLIPScore and RefCLIPScore with a local model.

Hessel et al. 2021, https://arxiv.org/abs/2104.08718, section 3: 2.5 × max(cosine, 0) of picture and
caption; with references, the harmonic mean of that and the highest cosine of caption and reference.
The published score puts "A photo depicts " before every text. CLIP reads 77 tokens: what follows
in a longer caption is not seen.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repic.errors import first_line
from repic.local import lacking
from repic.metrics.captions.metric import Captions, Metric, MetricFailed
from repic.metrics.column import MEANING, ScoreColumn
from repic.types import ImageSource
from repic.values import Amount, Positive, Text
from repic.weights import load_whole

SCALE = 100.0


class ClipScore(Metric):
    """CLIPScore × 100, and RefCLIPScore × 100 where there are references; means over captions.

    Args:
        path: the model's directory; None leaves the metric out.
        weight: of the cosine of picture and caption.
        prefix: put before captions and references.
        batch_size: texts, or pictures, that go through the model at a time.
    """

    def __init__(
        self, *, path: Text | None, weight: Positive, prefix: str, batch_size: Amount
    ) -> None:
        super().__init__(
            ScoreColumn("clip_score", "CLIP", "up", MEANING, ("CLIP: CLIPScore.",)),
            ScoreColumn("ref_clip_score", "RefCLIP", "up", MEANING),
        )
        self.path, self.weight, self.prefix, self.batch_size = path, weight, prefix, batch_size

    def missing(self) -> str | None:
        return lacking("metrics.scorers.clip_score.path", self.path, "openai/clip-vit-base-patch32")

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        if captions.images is None:
            raise MetricFailed("the pictures are not at hand (to rescore: phase.rescore.images)")
        pictures = self._images(captions.images)
        texts = self._texts(captions.texts)
        scores = self.weight * (pictures * texts).sum(dim=1).clamp(min=0)
        best = torch.full_like(scores, torch.nan)
        for i, group in enumerate(captions.references):
            if group:
                best[i] = (self._texts(group) @ texts[i]).amax().clamp(min=0)
        with_references = 2 * scores * best / (scores + best).clamp(min=1e-12)
        return self.rows(SCALE * scores.double().numpy(), SCALE * with_references.double().numpy())

    @torch.no_grad()
    def _texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        processor, model = self._loaded
        parts = []
        for first in range(0, len(texts), self.batch_size):
            some = [self.prefix + text for text in texts[first : first + self.batch_size]]
            longest = model.config.text_config.max_position_embeddings
            batch = processor.tokenizer(
                some, truncation=True, max_length=longest, padding=True, return_tensors="pt"
            )
            parts.append(model.get_text_features(**batch.to(model.device)).pooler_output)
        return _unit(parts)

    @torch.no_grad()
    def _images(self, images: Sequence[ImageSource]) -> Float[Tensor, "N D"]:
        """Each different picture is loaded once."""
        processor, model = self._loaded
        different = list({image.key: image for image in images}.values())
        parts = []
        for first in range(0, len(different), self.batch_size):
            some = [image.load() for image in different[first : first + self.batch_size]]
            batch = processor.image_processor(some, return_tensors="pt").to(model.device)
            parts.append(model.get_image_features(**batch).pooler_output)
        place = {image.key: i for i, image in enumerate(different)}
        return _unit(parts)[[place[image.key] for image in images]]

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoProcessor, CLIPModel  # seconds, and only who asks waits

        assert self.path is not None
        try:
            processor = AutoProcessor.from_pretrained(
                self.path, local_files_only=True, trust_remote_code=False
            )
            model = load_whole(CLIPModel, self.path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise MetricFailed(f"{self.path} cannot be loaded ({first_line(error)})") from error
        return processor, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _unit(parts: Sequence[Tensor]) -> Float[Tensor, "N D"]:
    return torch.nn.functional.normalize(torch.cat(list(parts)).float(), dim=-1).cpu()
