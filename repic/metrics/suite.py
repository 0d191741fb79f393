"""All metrics of one system's predictions, by number of concepts, with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import MinLen
from jaxtyping import Float

from repic.metrics.captions.cider_r import Cider
from repic.metrics.captions.metric import CaptionKey, CaptionMetric, Captions
from repic.metrics.captions.scorer import CIDER, CaptionScorer
from repic.metrics.column import ScoreColumn
from repic.metrics.kept import ALL, CaptionScores, Measured, score
from repic.metrics.naming import PaperNames, Recognition
from repic.types import ImageSource, Prediction
from repic.values import AmountOrNone, Concepts, Probability, Seed, Text

RECOGNITION, PAPER_NAMES = "recognition", "paper_names"
EVERY = "all"
STANDARD = (RECOGNITION, PAPER_NAMES, CIDER)  # always there

Cell = dict[str, float | list[float]]


class MetricSuite:
    """Recognition, CIDEr and their mean, and whatever else is chosen, each with an interval.

    Intervals are by a bootstrap over pictures: captions of one picture are drawn together.

    Args:
        counts: numbers of concepts that are evaluated, each on a test set of its own.
        captions: names of further caption metrics; "all" are all of those to choose from, and of
            two with the same columns the first.
        tokenizer: of CIDEr and all that compares words: "words", or "ptb", which needs Java.
        scorers: the caption metrics to choose from.
        bootstrap_samples: how often the pictures are resampled; 0 leaves the intervals out.
        confidence: of the intervals, between 0 and 1.
        seed: of the resampling.
        also: names of caption metrics beside ``captions``.
    """

    def __init__(
        self,
        *,
        counts: Annotated[Sequence[Concepts], MinLen(1)],
        captions: Sequence[Text] | Literal["all"],
        tokenizer: Literal["words", "ptb"],
        scorers: Mapping[str, CaptionMetric],
        bootstrap_samples: AmountOrNone,
        confidence: Probability,
        seed: Seed,
        also: Sequence[Text] = (),
    ) -> None:
        self.counts = tuple(counts)
        self.resampling: Any = {
            "num_samples": bootstrap_samples,
            "confidence": confidence,
            "seed": seed,
        }
        always = {RECOGNITION: Recognition(), PAPER_NAMES: PaperNames(), CIDER: Cider()}
        self.scorer = CaptionScorer(
            chosen=[*(every(scorers) if captions == EVERY else captions), *also],
            scorers=scorers,
            tokenizer=tokenizer,
            always=always,
        )

    def __call__(self, predictions: Sequence[Prediction]) -> dict[str, Cell]:
        """Judge captions quickly, by names and CIDEr alone; see ``cells``."""
        return self.cells(self.measure(predictions, only=(RECOGNITION, CIDER)))

    def measure(
        self,
        predictions: Sequence[Prediction],
        images: Sequence[ImageSource | None] | None = None,
        *,
        only: Sequence[str] = (),
    ) -> CaptionScores:
        """Measure each of one phase's captions.

        The captions of one number of concepts are a collection of their own: CIDEr takes its
        document frequencies from their references, and the paper's protocol its pool.

        Args:
            predictions: the captions.
            images: the picture of each; None where they are not at hand.
            only: names of metrics; all of them, if there are none.

        Raises:
            ValueError: somebody is present whom the pool does not have.
        """
        pairs = list(zip(predictions, images or [None] * len(predictions), strict=True))
        groups = []
        for count in sorted({prediction.num_concepts for prediction in predictions}):
            groups.append([pair for pair in pairs if pair[0].num_concepts == count])
        found = [self._measure(group, only) for group in groups]
        ordered = [prediction for group in groups for prediction, _ in group]
        return CaptionScores(
            tuple((prediction.id, prediction.num_concepts) for prediction in ordered),
            tuple(map(picture_of, ordered)),
            self.scorer.join(found) if found else {},
            _rewards(ordered),
        )

    def cells(self, scores: CaptionScores) -> dict[str, Cell]:
        """What tables show of one phase, by number of concepts and altogether.

        Returns:
            "1", "2", … (the numbers that occur) and "all", each with "num_examples", every score
            x that there is, and "x_ci": [low, high]. In "all" statistics of the others are put
            together. What cannot be computed, such as CIDEr without references or of a single
            picture, is not there.
        """
        counts = [*dict.fromkeys(str(count) for _, count in scores.keys)]
        return {
            name: self._cell(scores.part(name)) for name in (*counts, *([ALL] if counts else []))
        }

    @property
    def columns(self) -> tuple[ScoreColumn, ...]:
        """Of all metrics that were not left out."""
        metrics = [m for name, m in self.scorer.metrics.items() if name not in self.scorer.left_out]
        return tuple(column for metric in metrics for column in metric.columns)

    def _measure(
        self, group: Sequence[tuple[Prediction, ImageSource | None]], only: Sequence[str]
    ) -> dict[str, Measured]:
        predictions = [prediction for prediction, _ in group]
        for prediction in predictions:
            if unknown := sorted(set(prediction.present) - set(prediction.pool)):
                raise ValueError(
                    f"prediction {prediction.id}: present but not among the names introduced:"
                    f" {', '.join(unknown)}"
                )
        pictures = [image for _, image in group if image is not None]
        captions = Captions.read(
            [p.caption for p in predictions],
            [p.answers for p in predictions],
            [p.infos for p in predictions],
            tokenize=self.scorer.tokenize,
            images=pictures if len(pictures) == len(group) else None,
            keys=[CaptionKey(picture_of(p), p.present, p.prompt) for p in predictions],
            pools=[p.pool for p in predictions],
        )
        return self.scorer.measure(captions, only)

    def _cell(self, scores: CaptionScores) -> Cell:
        found = score(scores.metrics, scores.pictures, **self.resampling)
        cell: Cell = {**found.values, "num_examples": len(scores.keys)}
        return cell | {f"{name}_ci": list(ends) for name, ends in found.intervals.items()}


def every(scorers: Mapping[str, CaptionMetric]) -> list[str]:
    """Names of all metrics; of two with the same columns the first."""
    found: dict[str, str] = {}
    for name, metric in scorers.items():
        found.setdefault(metric.columns[0].name, name)
    return list(found.values())


def picture_of(prediction: Prediction) -> str:
    """What is drawn together: the picture that is captioned, or the example where it shows none."""
    if prediction.images:
        return prediction.images[-1]
    return f"{prediction.num_concepts}/{prediction.id}"


def _rewards(predictions: Sequence[Prediction]) -> dict[str, Float[np.ndarray, " N"]]:
    """Raw reward parts; NaN where one does not apply, or a rubric did not have it."""
    parts = dict.fromkeys(part for prediction in predictions for part in prediction.rewards)
    return {
        part: np.array([_number(prediction.rewards.get(part)) for prediction in predictions])
        for part in parts
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
