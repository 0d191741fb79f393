"""Rewards of saved captions under other weights: no model, no run, the parts that were kept.

As in training, a caption's reward is the weighted sum of its raw parts, and a part that does not
apply (null) adds nothing. Conditions between parts (``reward.rubric.conditions``) are not applied.
Captions to which no weighted part applies are left out of the mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from repic.metrics import bootstrap
from repic.metrics.protocols import cluster_of
from repic.metrics.suite import by_phase
from repic.report.runs import Cell, Run, read_predictions
from repic.report.tables import ALL, WEIGHTED, Column
from repic.types import Prediction

METRIC = WEIGHTED


def parse_weights(text: str) -> dict[str, float]:
    """Read ``names=1,cider=0.5``.

    Raises:
        ValueError: a weight is no number, or a part stands there twice.

    Example:
        >>> parse_weights("names=1, cider=0.5")
        {'names': 1.0, 'cider': 0.5}
    """
    weights: dict[str, float] = {}
    for item in text.split(","):
        part, _, number = (piece.strip() for piece in item.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not part or not math.isfinite(weight):
            raise ValueError(f"--weights: {item!r} is not <part>=<number>, as in names=1,cider=0.5")
        if part in weights:
            raise ValueError(f"--weights: {part!r} stands there twice; leave one out")
        weights[part] = weight
    return weights


def column(weights: Mapping[str, float]) -> Column:
    """The table's column."""
    title = " + ".join(f"{weight:g} {part}" for part, weight in weights.items())
    return Column("reward", f"mean of {title}", METRIC, ALL, digits=3)


def note(weights: Mapping[str, float]) -> str:
    """What the column holds, for the table's note."""
    return f"reward: {column(weights).title} over all scenes, parts that do not apply left out."


def weighted_rewards(
    predictions: Sequence[Prediction], weights: Mapping[str, float]
) -> Float[np.ndarray, "N 2"]:
    """A caption's weighted reward, and 1 if any part applies; of sums the ratio is the mean."""
    rows = np.zeros((len(predictions), 2))
    for row, prediction in zip(rows, predictions, strict=True):
        values = ((weight, prediction.rewards.get(part)) for part, weight in weights.items())
        terms = [w * v for w, v in values if v is not None and math.isfinite(v)]
        row[:] = sum(terms), bool(terms)
    return rows


def reward_metrics(sums: Float[np.ndarray, "S 2"]) -> dict[str, Float[np.ndarray, " S"]]:
    """Mean weighted reward; NaN where there is no caption that it applies to."""
    total, number = sums.T
    return {METRIC: np.where(number > 0, total / np.where(number > 0, number, 1), np.nan)}


def with_weighted_rewards(
    runs: Sequence[Run],
    weights: Mapping[str, float],
    *,
    num_samples: int,
    confidence: float,
    seed: int,
) -> list[Run]:
    """Give every run its captions' mean weighted reward as a metric.

    A run that kept none of the weighted parts, because it was made with another reward, has none.

    Raises:
        ValueError: a run has no captions, or no run has a part; the message names those there are.
    """
    known: set[str] = set()
    found = []
    for run in runs:
        predictions = read_predictions(run.folder)
        if not predictions:
            raise ValueError(
                f"{run.folder}: has no predictions.jsonl, whose reward parts --weights weighs;"
                " leave the run out"
            )
        parts = {part for prediction in predictions for part in prediction.rewards}
        known |= parts
        if parts >= weights.keys():
            metrics = {phase: dict(cells) for phase, cells in run.metrics.items()}
            for phase, captions in by_phase(predictions).items():
                ends = {"num_samples": num_samples, "confidence": confidence, "seed": seed}
                for count, cell in _cells(captions, weights, **ends).items():
                    if count in metrics.get(phase, {}):
                        metrics[phase][count] = {**metrics[phase][count], **cell}
            run = replace(run, metrics=metrics)
        found.append(run)
    if unknown := [part for part in weights if part not in known]:
        there = ", ".join(sorted(known)) or "none: these runs were made without a reward"
        raise ValueError(f"--weights: no run has the part {unknown[0]!r}; there are {there}")
    return found


def _cells(
    predictions: Sequence[Prediction],
    weights: Mapping[str, float],
    *,
    num_samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Cell]:
    rows = weighted_rewards(predictions, weights)
    groups: dict[str, list[int]] = {ALL: list(range(len(predictions)))}
    for i, prediction in enumerate(predictions):
        groups.setdefault(str(prediction.num_concepts), []).append(i)
    cells: dict[str, Cell] = {}
    for count, places in groups.items():
        sums = bootstrap.cluster_sums(rows[places], [cluster_of(predictions[i]) for i in places])
        ends = bootstrap.intervals(
            sums, reward_metrics, num_samples=num_samples, confidence=confidence, seed=seed
        )
        value = reward_metrics(sums.sum(axis=0, keepdims=True))[METRIC].item()
        cells[count] = {METRIC: value, **{f"{name}_ci": found for name, found in ends.items()}}
    return cells
