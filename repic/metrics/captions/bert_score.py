"""BERTScore with a local model.

Zhang et al. 2020, https://arxiv.org/abs/1904.09675, section 3: F1 of greedy matches between the
contextual embeddings of two texts, without idf weights and without rescaling. As in the authors'
package (bert_score 0.3.13): the special tokens at both ends are not scored themselves, but may be
matched; an empty text has 0; of several references the best counts.

torchmetrics has a BERTScore as well. Version 1.9 sorts texts by length and undoes it wrongly, so
that captions meet other captions' references; and it pads everything to 512 tokens at once.
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
from repic.values import Amount, Text, Whole
from repic.weights import load_whole

SCALE = 100.0

_BOTH_ENDS = slice(1, -1)  # [CLS] ... [SEP]


class BertScore(Metric):
    """BERTScore F1 × 100, the mean over captions.

    Args:
        path: the model's directory; None leaves the metric out.
        layer: whose output is taken; 0 are the embeddings.
        batch_size: texts that go through the model at a time.
    """

    def __init__(self, *, path: Text | None, layer: Whole, batch_size: Amount) -> None:
        notes = ("BERT: BERTScore F1, not rescaled.",)
        super().__init__(ScoreColumn("bert_score", "BERT", "up", MEANING, notes))
        self.path, self.layer, self.batch_size = path, layer, batch_size

    def missing(self) -> str | None:
        return lacking("metrics.scorers.bert_score.path", self.path, "roberta-large")

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        scores = np.full(len(captions.texts), np.nan)
        judged = [i for i, group in enumerate(captions.references) if any(group)]
        for first in range(0, len(judged), self.batch_size):
            some = judged[first : first + self.batch_size]
            texts = [captions.texts[i].strip() for i in some]
            groups = [[text.strip() for text in captions.references[i]] for i in some]
            vectors = self._vectors([*texts, *(text for group in groups for text in group)])
            for i, text, group in zip(some, texts, groups, strict=True):
                scores[i] = max(f1(vectors[text], vectors[other]) for other in group)
        return self.rows(SCALE * scores)

    @torch.no_grad()
    def _vectors(self, texts: Sequence[str]) -> dict[str, Float[Tensor, "_ D"]]:
        """Vectors of every token, of length one."""
        tokenizer, model = self._loaded
        longest = min(tokenizer.model_max_length, model.config.max_position_embeddings - 2)
        different = sorted(set(texts), key=len)
        found = {}
        for first in range(0, len(different), self.batch_size):
            some = different[first : first + self.batch_size]
            batch = tokenizer(
                some, truncation=True, max_length=longest, padding=True, return_tensors="pt"
            ).to(model.device)
            states = model(**batch, output_hidden_states=True).hidden_states[self.layer]
            states = torch.nn.functional.normalize(states.float(), dim=-1).cpu()
            lengths = batch["attention_mask"].sum(dim=1).tolist()
            found |= {t: s[:n] for t, s, n in zip(some, states, lengths, strict=True)}
        return found

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer  # seconds, and only who asks waits

        assert self.path is not None
        try:
            # RoBERTa's words begin with their space; other tokenizers do not know the argument.
            tokenizer = AutoTokenizer.from_pretrained(
                self.path,
                local_files_only=True,
                trust_remote_code=False,
                padding_side="right",
                add_prefix_space=True,
            )
            # Of a model that was trained to fill gaps; nobody asks for its summary of a sentence.
            model = load_whole(
                AutoModel, self.path, may_lack=r"\bpooler\b", may_have=True, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise MetricFailed(f"{self.path} cannot be loaded ({first_line(error)})") from error
        layers = model.config.num_hidden_layers
        if not 0 <= self.layer <= layers:
            raise ValueError(
                f"metrics.scorers.bert_score.layer: {self.layer} is not from 0 to {layers}"
            )
        return tokenizer, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def f1(caption: Float[Tensor, "T D"], reference: Float[Tensor, "R D"]) -> float:
    """Compare two texts by the unit vectors of their tokens, special ones at both ends.

    Example:
        >>> east, north = torch.eye(2)
        >>> ends = -torch.ones(2) / 2**0.5
        >>> f1(torch.stack([ends, east, ends]), torch.stack([ends, east, north, ends]))  # P=1, R=½
        0.6666...
    """
    if len(caption) < 3 or len(reference) < 3:
        return 0.0
    cosines = caption @ reference.T
    precision = cosines.amax(dim=1)[_BOTH_ENDS].mean().item()
    recall = cosines.amax(dim=0)[_BOTH_ENDS].mean().item()
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else 0.0
