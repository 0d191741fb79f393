"""All metrics of one system's predictions, by number of concepts, with intervals."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import CaptionKey, CaptionMetric
from repic.metrics.captions.scorer import CaptionScorer, Statistics
from repic.metrics.cider import cider_scores
from repic.metrics.names import count_names, lexicon_of
from repic.metrics.statistics import Score
from repic.types import ImageSource, Prediction

ALL = "all"

Cell = dict[str, float | list[float]]

# Columns of the per-example statistics; every metric is a function of their sums.
_EXACT, _HITS, _FALSE, _MISSED, _CIDER, _HAS_CIDER, _ONE = range(7)


class MetricSuite:
    """Recognition, CIDEr and their mean, each with a bootstrap interval over examples.

    ``overall`` is the plain mean of accuracy (0 to 100) and CIDEr (0 to 1000). Other scores of
    captions are computed by ``captions``, at the end of a run, since some take minutes.

    Args:
        counts: numbers of concepts that are evaluated, each on a test set of its own.
        captions: names of further caption metrics.
        tokenizer: of CIDEr and all that compares words: "words", or "ptb", which needs Java.
        scorers: the caption metrics to choose from.
        bootstrap_samples: how often the examples are resampled; 0 leaves the intervals out.
        confidence: of the intervals, between 0 and 1.
        seed: of the resampling.
    """

    def __init__(
        self,
        *,
        counts: Sequence[int],
        captions: Sequence[str],
        tokenizer: str,
        scorers: Mapping[str, CaptionMetric],
        bootstrap_samples: int,
        confidence: float,
        seed: int,
    ) -> None:
        if not counts or any(not isinstance(c, int) or not 1 <= c <= 5 for c in counts):
            raise ValueError(f"metrics.counts: need whole numbers from 1 to 5, not {list(counts)}")
        if bootstrap_samples < 0:
            raise ValueError(f"metrics.bootstrap_samples: {bootstrap_samples} is below 0")
        if not 0 < confidence < 1:
            raise ValueError(f"metrics.confidence: {confidence} is not between 0 and 1")
        self.counts = tuple(counts)
        self.bootstrap_samples, self.confidence, self.seed = bootstrap_samples, confidence, seed
        self.scorer = CaptionScorer(chosen=captions, scorers=scorers, tokenizer=tokenizer)

    def __call__(self, predictions: Sequence[Prediction]) -> dict[str, Cell]:
        """Judge one phase's captions, by number of concepts and altogether.

        CIDEr takes its document frequencies from the references of the same number of concepts,
        in "all", too: there it is the mean over examples of the scores in the other cells.

        Returns:
            "1", "2", … (the numbers that occur) and "all", each with "accuracy", "precision",
            "recall", "f1" (percent), "cider" (times 100), "overall", "num_examples", and for
            every metric x "x_ci": [low, high]. CIDEr, and with it overall, is NaN where there
            are no references or only one example.
        """
        counts = sorted({prediction.num_concepts for prediction in predictions})
        groups = [
            self._statistics([p for p in predictions if p.num_concepts == count])
            for count in counts
        ]
        cells = {str(c): self._cell(group) for c, group in zip(counts, groups, strict=True)}
        return {**cells, ALL: self._cell(np.concatenate(groups))} if cells else {}

    def score(self, predictions: Sequence[Prediction]) -> Cell:
        """Judge captions as one cell, whatever their numbers of concepts."""
        return self._cell(self._statistics(predictions))

    def captions(
        self, predictions: Sequence[Prediction], images: Sequence[ImageSource | None]
    ) -> dict[str, Cell]:
        """Score one phase's captions by the chosen metrics, by number of concepts and altogether.

        As with CIDEr, the captions of one number of concepts are a collection of their own, and
        "all" puts their statistics together.

        Args:
            predictions: the captions.
            images: the picture of each.

        Returns:
            Cells as ``__call__`` gives, with those metrics alone that there are values of.
        """
        groups: dict[str, Statistics] = {}
        owners: dict[str, list[str]] = {}
        for count in sorted({prediction.num_concepts for prediction in predictions}):
            group = [
                pair
                for pair in zip(predictions, images, strict=True)
                if pair[0].num_concepts == count
            ]
            pictures = [image for _, image in group if image is not None]
            owners[str(count)] = [_image(p) for p, _ in group]
            groups[str(count)] = self.scorer.statistics(
                self.scorer.read(
                    [p.caption for p, _ in group],
                    [p.answers for p, _ in group],
                    [p.infos for p, _ in group],
                    pictures if len(pictures) == len(group) else None,
                    [CaptionKey(_image(p), p.present, p.prompt) for p, _ in group],
                )
            )
        if not groups:
            return {}
        groups[ALL] = self.scorer.join(list(groups.values()))
        owners[ALL] = [f"{count}/{owner}" for count, group in owners.items() for owner in group]
        return {
            name: _as_cell(self.score_statistics(groups[name], owners[name])) for name in groups
        }

    def score_statistics(self, statistics: Statistics, clusters: Sequence[str]) -> Score:
        """Caption metrics of a set, with the suite's bootstrap; see ``CaptionScorer.score``."""
        return self.scorer.score(
            statistics,
            clusters,
            num_samples=self.bootstrap_samples,
            confidence=self.confidence,
            seed=self.seed,
        )

    def _statistics(self, predictions: Sequence[Prediction]) -> Float[np.ndarray, "N 7"]:
        return example_statistics(predictions, tokenizer=self.scorer.tokenize)

    def _cell(self, statistics: Float[np.ndarray, "N 7"]) -> Cell:
        metrics = metrics_of(statistics.sum(axis=0, keepdims=True))
        cell: Cell = {name: value.item() for name, value in metrics.items()}
        cell["num_examples"] = len(statistics)
        if self.bootstrap_samples and len(statistics):
            intervals = self._intervals(statistics)
            cell |= {f"{name}_ci": interval for name, interval in intervals.items()}
        return cell

    def _intervals(self, statistics: Float[np.ndarray, "N 7"]) -> dict[str, list[float]]:
        """Percentile bootstrap; document frequencies stay those of the whole set."""
        num_examples = len(statistics)
        rng = np.random.default_rng(self.seed)
        shares = np.full(num_examples, 1 / num_examples)
        times_drawn = rng.multinomial(num_examples, shares, size=self.bootstrap_samples)
        tail = (1 - self.confidence) / 2
        return {
            name: np.quantile(values, [tail, 1 - tail]).tolist()
            for name, values in metrics_of(times_drawn @ statistics).items()
        }


def example_statistics(
    predictions: Sequence[Prediction],
    *,
    tokenizer: Callable[[Sequence[str]], list[str]],
) -> Float[np.ndarray, "N 7"]:
    """One row an example; sums of rows are all that ``metrics_of`` needs.

    Args:
        predictions: captions of one number of concepts.
        tokenizer: of CIDEr.
    """
    rows = np.zeros((len(predictions), 7))
    for row, p in zip(rows, predictions, strict=True):
        if unknown := sorted(set(p.present) - set(p.pool)):
            raise ValueError(
                f"prediction {p.id}: present but not among the names introduced:"
                f" {', '.join(unknown)}"
            )
        row[: _MISSED + 1] = count_names(p.caption, p.present, lexicon_of(p.pool))
    rows[:, _ONE] = 1
    # Photos of one's own come without reference captions: they have a recognition score only.
    tokens = iter(tokenizer([t for p in predictions for t in (p.caption, *p.answers)]))
    words = [(next(tokens), [next(tokens) for _ in p.answers]) for p in predictions]
    scores = cider_scores([caption for caption, _ in words], [group for _, group in words])
    rows[:, _CIDER], rows[:, _HAS_CIDER] = np.nan_to_num(scores), ~np.isnan(scores)
    return rows


def metrics_of(sums: Float[np.ndarray, "S 7"]) -> dict[str, Float[np.ndarray, " S"]]:
    """Turn rows of summed statistics into metrics."""
    exact, hits, false, missed, cider, has_cider, ones = sums.T
    accuracy = _ratio(100 * exact, ones, empty=np.nan)
    cider_mean = _ratio(cider, has_cider, empty=np.nan)
    return {
        "accuracy": accuracy,
        "precision": _ratio(100 * hits, hits + false, empty=0.0),
        "recall": _ratio(100 * hits, hits + missed, empty=0.0),
        "f1": _ratio(200 * hits, 2 * hits + false + missed, empty=0.0),
        "cider": cider_mean,
        "overall": (accuracy + cider_mean) / 2,
    }


def _image(prediction: Prediction) -> str:
    """The picture that a prediction is about; its id where it shows none."""
    return prediction.images[-1] if prediction.images else prediction.id


def _as_cell(score: Score) -> Cell:
    intervals = {f"{name}_ci": list(ends) for name, ends in score.intervals.items()}
    return {**score.values, **intervals}


def by_phase(predictions: Iterable[Prediction]) -> Mapping[str, list[Prediction]]:
    """Sort the lines of a predictions file by the model that wrote them."""
    phases: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        phases.setdefault(prediction.phase, []).append(prediction)
    return phases


def _ratio(part: np.ndarray, whole: np.ndarray, *, empty: float) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), empty)
