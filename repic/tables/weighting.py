"""Rewards of saved captions under other weights: no model, no run, the parts that were kept.

As in training, a caption's reward is the weighted sum of its raw parts, a part that does not apply
(null) adds nothing, and one whose condition does not hold (``reward.rubric.conditions``) counts 0.
Runs that had other conditions are measured alike, without any: one yardstick for a table. Captions
to which no weighted part applies are left out of the mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from repic.data.predictions import read_predictions
from repic.metrics.protocols import cluster_of
from repic.metrics.statistics import bootstrap_intervals, cluster_sums
from repic.metrics.suite import by_phase
from repic.settings import config_of
from repic.tables.columns import ALL, WEIGHTED, MetricColumn
from repic.tables.runs import Cell, Run
from repic.types import Prediction

METRIC = WEIGHTED

# As they stand in a configuration: {component: …, given: …, at_least: …, at_most: …}.
Conditions = tuple[Mapping[str, Any], ...]


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


def column(weights: Mapping[str, float]) -> MetricColumn:
    """The table's column."""
    title = " + ".join(f"{weight:g} {part}" for part, weight in weights.items())
    return MetricColumn("reward", f"mean of {title}", METRIC, ALL, digits=3)


def note(weights: Mapping[str, float], conditions: Conditions | None) -> str:
    """What the column holds, for the table's note.

    Args:
        weights: by part.
        conditions: of ``shared_conditions``.
    """
    parts = [f"reward: {column(weights).title} over all scenes, parts that do not apply left out."]
    if conditions is None:
        parts.append("The runs had different conditions on parts; none is applied.")
    told = [text for c in conditions or () if (text := _told(c, weights))]
    if told:
        parts.append(f"As in training, {', and '.join(told)}.")
    return " ".join(parts)


def _told(condition: Mapping[str, Any], weights: Mapping[str, float]) -> str:
    """A condition in words, if it is on a part that is weighed."""
    parts = [part for part in _components(condition) if part in weights]
    words = {"at_least": "at least", "at_most": "at most"}
    bounds = " and ".join(f"{words[k]} {condition[k]:g}" for k in words if k in condition)
    return f"{' and '.join(parts)} only where {condition['given']} is {bounds}" if parts else ""


def shared_conditions(runs: Sequence[Run]) -> Conditions | None:
    """The conditions of all runs that had a reward; None where they had different ones.

    They stand in a run's configuration; a run that kept none, or had no reward, has no say.
    """
    found = []
    for run in runs:
        reward = (config_of(run.folder) or {}).get("reward") or {}
        if rubric := reward.get("rubric"):
            found.append(tuple((rubric.get("conditions") or {}).values()))
    if any(conditions != found[0] for conditions in found):
        return None
    return found[0] if found else ()


def weighted_rewards(
    predictions: Sequence[Prediction],
    weights: Mapping[str, float],
    conditions: Conditions | None = (),
) -> Float[np.ndarray, "N 2"]:
    """A caption's weighted reward, and 1 if any part applies; of sums the ratio is the mean."""
    # A condition on what a run did not keep takes no part.
    others = {name for c in conditions or () for name in (*_components(c), c["given"])}
    names = sorted({*weights, *others, *(part for p in predictions for part in p.rewards)})
    values = np.array(
        [[math.nan if (v := p.rewards.get(n)) is None else v for n in names] for p in predictions],
        dtype=float,
    ).reshape(len(predictions), len(names))
    if conditions:
        values = _conditioned(values, names, conditions)
    terms = np.array([weights.get(name, 0.0) for name in names], dtype=float) * values
    applies = np.isfinite(values) & np.array([name in weights for name in names], dtype=bool)
    total = np.where(applies, terms, 0.0).sum(axis=1)
    return np.column_stack([total, applies.any(axis=1)])


def _components(condition: Mapping[str, Any]) -> list[str]:
    which = condition["component"]
    return [which] if isinstance(which, str) else list(which)


def _conditioned(
    values: Float[np.ndarray, "N K"], names: Sequence[str], conditions: Conditions
) -> Float[np.ndarray, "N K"]:
    # Imported where there is a condition, because they import torch.
    import torch

    from repic.rl.conditions import conditioned_rewards, read_conditions

    read = read_conditions({str(i): c for i, c in enumerate(conditions)}, names)
    return conditioned_rewards(torch.from_numpy(values)[None], names, read)[0].numpy()


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
    """Give every run its captions' mean weighted reward as a metric, under conditions they share.

    A run that kept none of the weighted parts, because it was made with another reward, has none.

    Raises:
        ValueError: a run has no captions, or no run has a part; the message names those there are.
    """
    known: set[str] = set()
    conditions = shared_conditions(runs)
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
                for count, cell in _cells(captions, weights, conditions, **ends).items():
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
    conditions: Conditions | None,
    *,
    num_samples: int,
    confidence: float,
    seed: int,
) -> dict[str, Cell]:
    rows = weighted_rewards(predictions, weights, conditions)
    groups: dict[str, list[int]] = {ALL: list(range(len(predictions)))}
    for i, prediction in enumerate(predictions):
        groups.setdefault(str(prediction.num_concepts), []).append(i)
    cells: dict[str, Cell] = {}
    for count, places in groups.items():
        sums = cluster_sums(rows[places], [cluster_of(predictions[i]) for i in places])
        ends = bootstrap_intervals(
            sums, reward_metrics, num_samples=num_samples, confidence=confidence, seed=seed
        )
        value = reward_metrics(sums.sum(axis=0, keepdims=True))[METRIC].item()
        cells[count] = {METRIC: value, **{f"{name}_ci": found for name, found in ends.items()}}
    return cells
