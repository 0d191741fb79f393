"""Caption metrics that saved captions tell once more, so that two models can be paired by caption.

A metric can be paired if a caption's statistics do not depend on its model's other captions: then
captions can change hands, and can be drawn, one by one. Self-BLEU and Distinct are not so: treated
as if they were, models that are the same differ "significantly" not in 5 % of cases but, as the
texts are, in hardly any or in far more; a test shows it of Self-BLEU.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.arena import REFERENCE, Arena
from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.capscore import CapScore
from repic.metrics.captions.caption_qa import CaptionQA, GrammarReader
from repic.metrics.captions.cider_r import CiderR
from repic.metrics.captions.copying import AgainstInfo, Copied
from repic.metrics.captions.dcscore import DCScore, GrammarFacts
from repic.metrics.captions.diversity import Distinct, Length, SelfBleu
from repic.metrics.captions.meteor import Meteor
from repic.metrics.captions.metric import CaptionKey, CaptionMetric, Captions
from repic.metrics.captions.pairs import GrammarPairs
from repic.metrics.captions.quiz import SceneQuizzes
from repic.metrics.captions.rouge import RougeL
from repic.metrics.captions.spice import Spice
from repic.metrics.protocols import cluster_of
from repic.tables.columns import ALL
from repic.tables.runs import Run
from repic.toybox.cells import SLOT_VALUES
from repic.toybox.grammar import parse_caption, unread_clauses
from repic.types import Prediction

OF_THE_WHOLE = "depends on all captions of a model together; several seeds tell"
NOT_AT_HAND = "captions alone do not tell it; several seeds do"
OTHER_RULES = "the summary's was made by another scorer than this"

_GRAMMAR = {"parser": parse_caption, "unread": unread_clauses}
_EXACT = "grammar"

# As conf/metrics/default.yaml has them. A run that had others, a judge that is a model for
# example, has other numbers in its summary: ``is_as_told`` sees it.
_METRICS: tuple[CaptionMetric, ...] = (
    CiderR(),
    Bleu(),
    RougeL(),
    CapScore(**_GRAMMAR),
    DCScore(source=_EXACT, sources={_EXACT: GrammarFacts(**_GRAMMAR)}),
    CaptionQA(
        questions=None,
        quizzes=SceneQuizzes(**_GRAMMAR, values=SLOT_VALUES),
        most=None,
        source=_EXACT,
        sources={_EXACT: GrammarReader(parser=parse_caption)},
    ),
    Arena(
        baselines=[REFERENCE],
        source=_EXACT,
        sources={_EXACT: GrammarPairs(**_GRAMMAR, names_first=False)},
    ),
    Meteor(),
    Spice(),
    Length(),
    Copied(),
    AgainstInfo(Bleu()),
    AgainstInfo(RougeL()),
    AgainstInfo(Meteor()),
    AgainstInfo(Spice()),
)
METRIC_OF = {name: metric for metric in _METRICS for name in metric.names}
WHOLE = frozenset((*SelfBleu().names, *Distinct.names))


def read_captions(
    predictions: Sequence[Prediction], *, tokenize: Callable[[Sequence[str]], list[str]]
) -> list[Captions]:
    """Tokenize captions by number of concepts: as in an evaluation, each is a collection.

    Args:
        predictions: ordered by number of concepts.
        tokenize: as the run's evaluation had it.
    """
    counts = sorted({p.num_concepts for p in predictions})
    groups = [[p for p in predictions if p.num_concepts == count] for count in counts]
    return [
        Captions.read(
            [p.caption for p in group],
            [p.answers for p in group],
            [p.infos for p in group],
            tokenize=tokenize,
            keys=[CaptionKey(cluster_of(p), p.present, p.prompt) for p in group],
        )
        for group in groups
    ]


def statistics(metric: CaptionMetric, groups: Sequence[Captions]) -> Float[np.ndarray, "N K"]:
    """A metric's rows of all groups, below each other.

    Raises:
        MetricFailed: as the metric does.
    """
    return np.concatenate([metric.statistics(group) for group in groups])


def is_as_told(run: Run, phase: str, metric: CaptionMetric, rows: Float[np.ndarray, "N K"]) -> bool:
    """Whether a run's summary has, over all captions, the values that these statistics give."""
    told = run.metrics[phase].get(ALL, {})
    now = metric.values(rows.sum(axis=0, keepdims=True))
    pairs = [(told[name], value.item()) for name, value in now.items() if name in told]
    return bool(pairs) and all(
        isinstance(then, float) and np.isclose(then, value, equal_nan=True) for then, value in pairs
    )
