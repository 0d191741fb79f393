"""How often one system's captions are preferred to another's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from repic.judges.questions import Preference
from repic.metrics.captions.metric import ratio
from repic.metrics.statistics import bootstrap_intervals, cluster_sums, sign_test


@dataclass(frozen=True)
class Preferences:
    """Verdicts on pairs, counted.

    Attributes:
        num_pairs: all of them.
        num_images: of these pairs.
        wins, ties, losses: pairs in which the first caption is better, neither, the second.
        inconsistent: ties because the choice changed with the order.
        preferred: wins and half of the ties, in % of the pairs with a verdict.
        interval: of ``preferred``, by a bootstrap over images; None if there is none.
        p_value: of the sign test of wins against losses.
    """

    num_pairs: int
    num_images: int
    wins: int
    ties: int
    losses: int
    inconsistent: int
    preferred: float
    interval: tuple[float, float] | None
    p_value: float

    @property
    def num_judged(self) -> int:
        return self.wins + self.ties + self.losses


def count_preferences(
    verdicts: Sequence[Preference | None],
    images: Sequence[str],
    *,
    num_samples: int,
    confidence: float,
    seed: int,
) -> Preferences:
    """Count verdicts; a pair without one counts in ``num_pairs`` alone.

    Args:
        verdicts: of each pair; a score of 1 is a win of the first.
        images: what each pair is about; pairs of one image are drawn together.
        num_samples: of the bootstrap.
        confidence: of the interval.
        seed: of the bootstrap.

    Raises:
        ValueError: there is no verdict at all.
    """
    told = [
        (verdict, image)
        for verdict, image in zip(verdicts, images, strict=True)
        if verdict is not None
    ]
    if not told:
        raise ValueError(f"the judge has judged none of {len(verdicts)} pairs; the log says why")
    scores = [verdict.score for verdict, _ in told]
    rows = np.array([[score, 1.0] for score in scores])
    sums = cluster_sums(rows, [image for _, image in told])
    found = bootstrap_intervals(
        sums, _metrics, num_samples=num_samples, confidence=confidence, seed=seed
    )
    wins, losses = scores.count(1.0), scores.count(0.0)
    return Preferences(
        num_pairs=len(verdicts),
        num_images=len(set(images)),
        wins=wins,
        ties=len(scores) - wins - losses,
        losses=losses,
        inconsistent=sum(not verdict.is_consistent for verdict, _ in told),
        preferred=_metrics(rows.sum(axis=0, keepdims=True))["preferred"].item(),
        interval=found.get("preferred"),
        p_value=sign_test(wins, losses),
    )


def _metrics(sums: Float[np.ndarray, "S 2"]) -> Mapping[str, Float[np.ndarray, " S"]]:
    return {"preferred": 100 * ratio(sums[:, 0], sums[:, 1])}
