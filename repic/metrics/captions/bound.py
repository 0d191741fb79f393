"""Do names stand at the beings who have them? Exact, by a grammar that reads the references.

The set of names, which recognition is about, is as it should be when a friend's name is said of a
look-alike beside the friend as well. Here a name counts at the description that it is said with:
the mention is about one being (``repic.metrics.captions.grammar_facts``, rule 2), and the name is
right if it is that being's. No reward's code is used; ``repic.rewards.binding`` has its own.
"""

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.grammar_facts import NAME, GrammarSource, judge_facts, scene_facts
from repic.metrics.captions.metric import Captions, ratio
from repic.metrics.column import CLAIMS, ScoreColumn

_NOTE = (
    "Bound: a name counts at the being that it is said of. acc: captions that name all who are due,"
    " and nobody at another being; P: names at their own being by names said; R: names due that are"
    " said at their being, in %."
)


def bound_values(sums: Float[np.ndarray, "S 6"]) -> Float[np.ndarray, "S 3"]:
    """Accuracy, precision and recall in percent; NaN without a caption.

    Args:
        sums: captions of which all is right; names said that are right, names said; names due that
            are said at their being, names due; captions. A precision of nothing said is 0.
    """
    exact, right, said, found, due, captions = sums.T
    shares = np.column_stack(
        [ratio(exact, captions), ratio(right, said, empty=0.0), ratio(found, due)]
    )
    return np.where(captions[:, None] > 0, 100 * shares, np.nan)


class BoundNames(GrammarSource):
    """Columns ``bound_accuracy``, ``bound_precision`` and ``bound_recall``, in percent."""

    columns = (
        ScoreColumn("bound_accuracy", "acc bound", "up", CLAIMS, (_NOTE,)),
        ScoreColumn("bound_precision", "P bound", "up", CLAIMS),
        ScoreColumn("bound_recall", "R bound", "up", CLAIMS),
    )
    values = staticmethod(bound_values)
    is_of_the_whole = False

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N 6"]:
        """Sums for each caption, in the order of ``bound_values``.

        Zeros where there is no reference that the grammar reads as a whole.
        """
        rows = np.zeros((len(captions.texts), 6))
        for i, (text, references) in enumerate(
            zip(captions.texts, captions.references, strict=True)
        ):
            truth = self.truth(references)
            if not truth.mentions:
                continue
            due = sum(mention.name is not None for mention in truth.mentions)
            claims = judge_facts(self.facts(text), scene_facts(truth))
            names = [claim.oracle for claim in claims if claim.fact.slot == NAME]
            right = [oracle for oracle in names if oracle is not None]
            found = len({*right})
            is_exact = found == due and len(right) == len(names)
            rows[i] = is_exact, len(right), len(names), found, due, 1
        return rows
