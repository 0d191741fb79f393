"""A run's captions by both protocols of names, and what comparing two runs needs of each caption.

"paper" is ``repic.metrics.paper_names``, each number of concepts a file of its own, by the script
that RePIC has for as many; "robust" is ``repic.metrics.names``.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from repic.metrics.paper_names import variant_for
from repic.metrics.rescoring import (
    PROTOCOLS,
    CaptionRecord,
    KnownNames,
    paper_counts,
    robust_counts,
)
from repic.metrics.statistics import bootstrap_intervals, cluster_sums
from repic.metrics.suite import ALL, Cell, example_statistics, metrics_of
from repic.types import Prediction

NAMES = ("precision", "recall", "f1")

# Statistics of a caption: those of the suite, then exact, hits, false, missed by each protocol.
SUITE_WIDTH, WIDTH = 7, 7 + 4 * len(PROTOCOLS)


def cluster_of(prediction: Prediction) -> str:
    """What is drawn together: the picture that is captioned."""
    if prediction.images:
        return prediction.images[-1]
    return f"{prediction.num_concepts}/{prediction.id}"


def protocol_counts(predictions: Sequence[Prediction]) -> Float[np.ndarray, "N 8"]:
    """Exact, hits, false and missed of every caption by "paper", then by "robust"."""
    rows = np.zeros((len(predictions), 4 * len(PROTOCOLS)))
    for count in {prediction.num_concepts for prediction in predictions}:
        places = [i for i, p in enumerate(predictions) if p.num_concepts == count]
        records = [_record(predictions[i]) for i in places]
        variant = variant_for([record.targets for record in records])
        rows[places, :4] = paper_counts(records, known=KnownNames(), variant=variant)
        rows[places, 4:] = robust_counts(records, known=KnownNames(), variant=variant)
    return rows


def protocol_metrics(counts: Float[np.ndarray, "S 8"]) -> dict[str, Float[np.ndarray, " S"]]:
    """Turn rows of summed counts into "paper_precision", …, "robust_f1", in percent."""
    found = {}
    for i, protocol in enumerate(PROTOCOLS):
        sums = np.pad(counts[:, 4 * i : 4 * i + 4], ((0, 0), (0, SUITE_WIDTH - 4)))
        metrics = metrics_of(sums)
        found |= {f"{protocol}_{name}": metrics[name] for name in NAMES}
    return found


def protocol_cells(
    predictions: Sequence[Prediction], *, num_samples: int, confidence: float, seed: int
) -> dict[str, Cell]:
    """Judge one phase's captions by both protocols, by number of concepts and altogether.

    Returns:
        "1", "2", … and "all", each with "paper_precision", …, "robust_f1" and, by a bootstrap
        over pictures, "paper_precision_ci", …
    """
    if not predictions:
        return {}
    rows = protocol_counts(predictions)
    counts = sorted({prediction.num_concepts for prediction in predictions})
    groups = {str(c): [i for i, p in enumerate(predictions) if p.num_concepts == c] for c in counts}
    groups[ALL] = list(range(len(predictions)))
    cells: dict[str, Cell] = {}
    for name, places in groups.items():
        sums = cluster_sums(rows[places], [cluster_of(predictions[i]) for i in places])
        values = protocol_metrics(sums.sum(axis=0, keepdims=True))
        ends = bootstrap_intervals(
            sums, protocol_metrics, num_samples=num_samples, confidence=confidence, seed=seed
        )
        cells[name] = {metric: value.item() for metric, value in values.items()}
        cells[name] |= {f"{metric}_ci": list(interval) for metric, interval in ends.items()}
    return cells


def caption_statistics(
    predictions: Sequence[Prediction], *, tokenizer: Callable[[Sequence[str]], list[str]]
) -> Float[np.ndarray, "N 15"]:
    """One row a caption; sums of rows are all that ``caption_metrics`` needs.

    As in a run's evaluation, CIDEr weighs words by the references of the same number of concepts.
    """
    rows = np.zeros((len(predictions), WIDTH))
    for count in {prediction.num_concepts for prediction in predictions}:
        places = [i for i, p in enumerate(predictions) if p.num_concepts == count]
        group = [predictions[i] for i in places]
        rows[places, :SUITE_WIDTH] = example_statistics(group, tokenizer=tokenizer)
    rows[:, SUITE_WIDTH:] = protocol_counts(predictions)
    return rows


def caption_metrics(sums: Float[np.ndarray, "S 15"]) -> dict[str, Float[np.ndarray, " S"]]:
    """Turn rows of summed statistics into the suite's metrics and both protocols'."""
    return {**metrics_of(sums[:, :SUITE_WIDTH]), **protocol_metrics(sums[:, SUITE_WIDTH:])}


def _record(prediction: Prediction) -> CaptionRecord:
    # Who is there and was not introduced (a retriever may miss somebody) can be named all the same.
    pool = tuple(dict.fromkeys((*prediction.pool, *prediction.present)))
    return CaptionRecord(
        place=f"prediction {prediction.id}",
        image=cluster_of(prediction),
        targets=prediction.present,
        caption=prediction.caption,
        pool=pool,
    )
