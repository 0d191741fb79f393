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

from repic.metrics.captions.metric import means
from repic.metrics.column import ScoreColumn
from repic.metrics.kept import CaptionScores, Measured, read_scores, score
from repic.settings import config_of
from repic.tables.columns import ALL, MetricColumn
from repic.tables.runs import Run

METRIC = "weighted_reward"

# As they stand in a configuration: {component: …, given: …, at_least: …, at_most: …}.
Conditions = tuple[Mapping[str, Any], ...]


MOST_WEIGHT = 1e6  # as in a run


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
        if not part or not abs(weight) <= MOST_WEIGHT:
            told = f"{item!r} is not <part>=<number>, as in names=1,cider=0.5"
            raise ValueError(f"--weights: {told}, with a number from -1e6 to 1e6")
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
    scores: CaptionScores, weights: Mapping[str, float], conditions: Conditions | None = ()
) -> Measured:
    """A caption's weighted reward, and 1 if any part applies; the ratio of sums is the mean."""
    # A condition on what a run did not keep takes no part.
    others = {name for c in conditions or () for name in (*_components(c), c["given"])}
    names = sorted({*weights, *others, *scores.rewards})
    nothing = np.full(len(scores.keys), np.nan)
    values = np.stack([scores.rewards.get(name, nothing) for name in names], axis=1)
    if conditions:
        values = _conditioned(values, names, conditions)
    terms = np.array([weights.get(name, 0.0) for name in names], dtype=float) * values
    applies = np.isfinite(values) & np.array([name in weights for name in names], dtype=bool)
    total = np.where(applies, terms, 0.0).sum(axis=1)
    rows = np.column_stack([total, applies.any(axis=1)])
    return Measured((ScoreColumn(METRIC, "reward", "up", ""),), rows, means)


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
        ValueError: a run has kept no scores, or no run a part; the message names those there are.
    """
    known: set[str] = set()
    conditions = shared_conditions(runs)
    found = []
    for run in runs:
        phases = read_scores(run.folder)
        parts = {part for scores in phases.values() for part in scores.rewards}
        known |= parts
        if parts >= weights.keys():
            metrics = {phase: dict(cells) for phase, cells in run.metrics.items()}
            for phase, scores in phases.items():
                weighed = weighted_rewards(scores, weights, conditions)
                scores = replace(scores, metrics={METRIC: weighed})
                for count in metrics.get(phase, {}):
                    chosen = scores.part(count)
                    mean = score(
                        chosen.metrics,
                        chosen.pictures,
                        num_samples=num_samples,
                        confidence=confidence,
                        seed=seed,
                    )
                    ends = {f"{name}_ci": found for name, found in mean.intervals.items()}
                    metrics[phase][count] = {**metrics[phase][count], **mean.values, **ends}
            run = replace(run, metrics=metrics)
        found.append(run)
    if unknown := [part for part in weights if part not in known]:
        there = ", ".join(sorted(known)) or "none: these runs were made without a reward"
        raise ValueError(f"--weights: no run has the part {unknown[0]!r}; there are {there}")
    return found
