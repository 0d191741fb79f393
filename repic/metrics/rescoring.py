"""Captions that exist, scored without a model: names by two protocols, CIDEr, length."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import CaptionKey, Captions
from repic.metrics.cider import cider_scores
from repic.metrics.names import Lexicon, NameCounts, count_names, english_words
from repic.metrics.paper_names import END_MARK, Variant, count_paper_names, paper_pool
from repic.metrics.statistics import Score, bootstrap_intervals, cluster_sums
from repic.metrics.suite import metrics_of

PROTOCOLS = ("paper", "robust")
METRICS = ("precision", "recall", "f1", "accuracy", "cider", "words")

# Columns of the statistics: those of repic.metrics.suite, then the number of words.
_CIDER, _HAS_CIDER, _ONE, _WORDS, _WIDTH = 4, 5, 6, 7, 8


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


@dataclass(frozen=True)
class KnownNames:
    """What a concept database says about names.

    Attributes:
        aliases: name -> other spellings; every name is a key.
        ordinary: words, beside those of English, that say a name only where it clearly is one.
        infos: name -> what is said of it.
    """

    aliases: Mapping[str, Collection[str]] = field(default_factory=dict)
    ordinary: Collection[str] = ()
    infos: Mapping[str, str] = field(default_factory=dict)


def score_captions(
    records: Sequence[CaptionRecord],
    *,
    protocol: str,
    variant: Variant,
    known: KnownNames,
    num_samples: int,
    confidence: float,
    seed: int,
    cider: Float[np.ndarray, " N"],
) -> Score:
    """Score captions of one system as one set.

    Args:
        records: the captions; "paper" takes its pool from all of them.
        protocol: of ``PROTOCOLS``.
        variant: of the paper's protocol.
        known: a database's names, for the robust protocol.
        num_samples: of the bootstrap over images.
        confidence: of the intervals.
        seed: of the bootstrap.
        cider: each caption's, from ``record_cider``.

    Returns:
        "precision", "recall", "f1", "accuracy" (percent), "cider" (times 100; NaN if there is
        none) and "words" a caption.
    """
    count = paper_counts if protocol == "paper" else robust_counts
    rows = np.zeros((len(records), _WIDTH))
    rows[:, :_CIDER] = count(records, known=known, variant=variant)
    rows[:, _CIDER], rows[:, _HAS_CIDER] = np.nan_to_num(cider), ~np.isnan(cider)
    rows[:, _ONE] = 1
    rows[:, _WORDS] = [len(record.text.split()) for record in records]
    sums = cluster_sums(rows, [record.image for record in records])
    values = _metrics(sums.sum(axis=0, keepdims=True))
    found = bootstrap_intervals(
        sums, _metrics, num_samples=num_samples, confidence=confidence, seed=seed
    )
    return Score({name: value.item() for name, value in values.items()}, found)


def record_cider(captions: Captions) -> Float[np.ndarray, " N"]:
    """CIDEr of every caption; NaN without references, and for a single caption."""
    if not all(captions.references):
        return np.full(len(captions.texts), np.nan)
    return cider_scores(captions.words, captions.reference_words, captions.cosines)


def paper_counts(
    records: Sequence[CaptionRecord], *, known: KnownNames, variant: Variant
) -> list[NameCounts]:
    """Count names as RePIC does: ``repic.metrics.paper_names``; a database is of no use to it."""
    del known
    pool = paper_pool([record.targets for record in records], variant)
    return [count_paper_names(r.caption, r.targets, pool) for r in records]


def robust_counts(
    records: Sequence[CaptionRecord], *, known: KnownNames, variant: Variant
) -> list[NameCounts]:
    """Count names as a person does: ``repic.metrics.names``; there are no variants.

    The pool is the names of the prompt (every target of the set, if those are not known) and of
    the database. Who is a target of another caption of the same image is in the picture.
    """
    del variant
    everyone = tuple(sorted({name for record in records for name in record.targets}))
    in_picture: dict[str, set[str]] = {}
    for record in records:
        in_picture.setdefault(record.image, set()).update(record.targets)
    ordinary = english_words().union(known.ordinary)
    lexicons: dict[tuple[str, ...], Lexicon] = {}
    counts = []
    for record in records:
        pool = everyone if record.pool is None else record.pool
        if pool not in lexicons:
            names = dict.fromkeys([*known.aliases, *pool])
            lexicons[pool] = Lexicon(names, aliases=known.aliases, ordinary=ordinary)
        elsewhere = in_picture[record.image].difference(record.targets)
        counts.append(
            count_names(record.caption, record.targets, lexicons[pool], elsewhere=elsewhere)
        )
    return counts


def _metrics(sums: Float[np.ndarray, "S 8"]) -> dict[str, Float[np.ndarray, " S"]]:
    names = metrics_of(sums[:, :_WORDS])
    words = sums[:, _WORDS] / sums[:, _ONE]
    return {**{name: names[name] for name in METRICS if name in names}, "words": words}
