"""Captions that exist, scored without a model: names by two protocols, CIDEr, length."""

from dataclasses import dataclass

from repic.metrics.captions.cider_r import Cider
from repic.metrics.captions.diversity import Length
from repic.metrics.captions.metric import CaptionKey, CaptionMetric, Captions
from repic.metrics.kept import measured, score
from repic.metrics.naming import KnownNames, PaperNames, Recognition
from repic.metrics.paper_names import END_MARK, Variant
from repic.metrics.statistics import Score

PROTOCOLS = ("paper", "robust")
METRICS = ("precision", "recall", "f1", "accuracy", "cider", "words")


@dataclass(frozen=True)
class CaptionRecord:
    """A caption and what it should say.

    Attributes:
        place: file and row, for complaints.
        image: what was captioned; captions of one image are one cluster.
        targets: names of those who should be named.
        pool: names that the prompt introduced; None if that is not known.
        references: captions by people, for CIDEr.
        infos: what the prompt says of those in the pool.
        prompt: the request; None if it is not known.
        system: which model wrote it, where the file tells.
    """

    place: str
    image: str
    targets: tuple[str, ...]
    caption: str
    pool: tuple[str, ...] | None = None
    references: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    prompt: str | None = None
    system: str | None = None

    @property
    def key(self) -> CaptionKey:
        return CaptionKey(self.image, self.targets, self.prompt)

    @property
    def text(self) -> str:
        """The caption without the mark that some models end it with."""
        return self.caption.replace(END_MARK, "")


def score_captions(
    captions: Captions,
    *,
    protocol: str,
    variant: Variant,
    known: KnownNames,
    num_samples: int,
    confidence: float,
    seed: int,
) -> Score:
    """Score captions of one system as one set.

    Args:
        captions: the captions; "paper" takes its pool from all of them.
        protocol: of ``PROTOCOLS``.
        variant: of the paper's protocol.
        known: a database's names, for the robust protocol.
        num_samples: of the bootstrap over images.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        "precision", "recall", "f1", "accuracy" (percent), "words" a caption, and "cider" (times
        100) where every caption has references.
    """
    names = Recognition(known) if protocol == "robust" else PaperNames(variant)
    metrics: list[CaptionMetric] = [names, Length()]
    if all(captions.references):
        metrics.append(Cider())
    found = score(
        {str(i): measured(m, m.statistics(captions)) for i, m in enumerate(metrics)},
        [key.image for key in captions.keys or ()],
        num_samples=num_samples,
        confidence=confidence,
        seed=seed,
    )
    ours = {key.removeprefix("paper_"): key for key in found.values}
    shown = {metric: ours[metric] for metric in METRICS if metric in ours}
    return Score(
        {metric: found.values[key] for metric, key in shown.items()},
        {metric: found.intervals[key] for metric, key in shown.items() if key in found.intervals},
    )
