"""b-CapScore as a model judges it, for pictures and prose that no grammar reads; see ``capscore``.

Precision: claims of the caption that are verified and pointable, and name nobody but those who
should be named. Recall: claims of the references that the caption covers. Language: the mean of
clarity, fluency and coherence.
"""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from repic.judges.questions import (
    LanguageScores,
    covered_units,
    extract_claims,
    language_scores,
    right_claims,
    verify_claims,
)
from repic.metrics.captions.capscore import COLUMNS, harmonic_values
from repic.metrics.captions.judging import ModelSource, require_answers
from repic.metrics.captions.metric import Captions, MetricFailed

log = logging.getLogger(__name__)


class JudgedCapScore(ModelSource):
    """The columns of ``CapScore``, in percent."""

    columns = COLUMNS
    values = staticmethod(harmonic_values)
    is_of_the_whole = False

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N 4"]:
        """A row for each caption: precision, recall and language in [0, 1], and 1.

        Zeros where there is no reference, and where the judge left one of the questions open.

        Raises:
            MetricFailed: the pictures are not at hand, or the judge has answered nothing.
        """
        judge = self.asked
        if captions.images is None:
            raise MetricFailed("the pictures are not at hand (of files: phase.<phase>.images)")
        texts = list(captions.texts)
        references = ["\n".join(group).strip() for group in captions.references]
        different = list(dict.fromkeys(references))
        found = extract_claims(judge, [*texts, *different])
        require_answers([c for c, text in zip(found, texts, strict=False) if text.strip()])
        claims = found[: len(texts)]
        units_of = dict(zip(different, found[len(texts) :], strict=True))
        units = [units_of[reference] for reference in references]
        answers = (
            claims,
            verify_claims(judge, captions.images, [some or () for some in claims]),
            units,
            covered_units(judge, texts, [some or () for some in units]),
            language_scores(judge, texts),
        )
        rows = np.zeros((len(texts), 4))
        for i, parts in enumerate(zip(*answers, strict=True)):
            names = captions.keys[i].names if captions.keys else None
            rows[i] = _row(*parts, names)
        asked = sum(some != () for some in units)  # of the others there is no reference
        failed = asked - int(rows[:, 3].sum())
        if failed and failed == asked:
            raise MetricFailed(f"the judge has judged none of {failed} captions")
        if failed:
            log.warning("b_capscore: %d of %d captions have no value", failed, len(texts))
        return rows


def _row(
    claims: Sequence[str] | None,
    held: Sequence[bool] | None,
    units: Sequence[str] | None,
    covered: Sequence[bool] | None,
    language: LanguageScores | None,
    names: Sequence[str] | None,
) -> tuple[float, float, float, float]:
    """Precision, recall, language and 1; zeros where an answer or the reference is missing."""
    if claims is None or held is None or not units or covered is None or language is None:
        return 0.0, 0.0, 0.0, 0.0
    right = right_claims(claims, held, names)
    return right / max(len(claims), 1), sum(covered) / len(units), language.mean, 1.0
