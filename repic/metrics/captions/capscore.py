"""b-CapScore: do captions say nothing false, leave nothing out, and read well?

BalCapRL, https://arxiv.org/abs/2605.07394: the harmonic mean of precision (of claims), recall (of
the reference's units) and language quality. There a model judges; here, where a grammar can read
everything, an exact judge does, with rules of its own and none of a reward's code:

1. The truth is what the grammar reads in the references, and only references that it reads to the
   last clause count. A fact is an attribute, a place or a name of a being, or the setting.
2. A mention is about at most one being, and a being has at most one mention, chosen so that the
   caption is given as many right facts as it can be.
3. precision = right facts / (facts stated + names at no description + clauses that cannot be
   read); recall = right facts / facts of the truth.
4. language is the mean of: the share of sentences in which the grammar reads something; the share
   of word triples (values as their slots, names as one) that occur in any reference of the set;
   the share of sentences that are not said twice.

Whether the paper takes the harmonic mean of each caption or of the set is not known; here it is of
the set's three means, so that one empty caption does not count more than it should.
"""

import re
from collections.abc import Callable, Collection, Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from repic.metrics.captions.grammar_facts import GrammarSource, scene_facts, slots
from repic.metrics.captions.metric import Captions, ratio
from repic.metrics.cider import tokenize
from repic.metrics.column import CLAIMS, ScoreColumn
from repic.types import Mention, Scene

_SENTENCES = re.compile(r"[^.!?\n]+[.!?]?")
_NOTES = (
    "P: right claims by claims; R: facts that are said by facts; L: language; b-CapScore: their"
    " harmonic mean. By toybox's grammar or by a model, in %.",
)
COLUMNS = (
    ScoreColumn("precision_claims", "P", "up", CLAIMS, _NOTES),
    ScoreColumn("recall_claims", "R", "up", CLAIMS),
    ScoreColumn("language", "L", "up", CLAIMS),
    ScoreColumn("b_capscore", "b-CapScore", "up", CLAIMS),
)
Triple = tuple[str, ...]


def harmonic_values(sums: Float[np.ndarray, "S 4"]) -> Float[np.ndarray, "S 4"]:
    """Means of three scores and their harmonic mean, in percent; NaN without a caption."""
    means = ratio(sums[:, :3], sums[:, 3:])
    # NaN counts as above 0: it stays what it is.
    inverses = np.divide(1, means, out=np.full(means.shape, np.inf), where=means != 0)
    return 100 * np.column_stack([means, 3 / inverses.sum(axis=1)])


class CapScore(GrammarSource):
    """Columns of ``COLUMNS``, in percent."""

    columns = COLUMNS
    values = staticmethod(harmonic_values)
    is_of_the_whole = False

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N 4"]:
        """A row for each caption: precision, recall and language in [0, 1], and 1.

        Zeros where there is no reference that the grammar reads as a whole.
        """
        truths = list(map(self.truth, captions.references))
        judged = [i for i, truth in enumerate(truths) if truth.mentions]
        rows = np.zeros((len(truths), 4))
        references = [text for i in judged for text in captions.references[i]]
        triples = _Triples(self.parser, [truths[i] for i in judged])
        known = {triple for text in references for triple in triples.of(text)}
        for i in judged:
            caption = captions.texts[i]
            right = num_right(self.parser(caption), truths[i])
            rows[i, 0] = right / max(len(self.facts(caption)), 1)
            rows[i, 1] = right / len(scene_facts(truths[i]))
            rows[i, 2] = self._language(caption, triples.of(caption), known)
            rows[i, 3] = 1
        return rows

    def _language(self, caption: str, triples: Sequence[Triple], known: set[Triple]) -> float:
        sentences = [" ".join(tokenize(s)) for s in _SENTENCES.findall(caption) if tokenize(s)]
        if not sentences:
            return 0.0
        parsed = map(self.parser, sentences)
        telling = sum(bool(scene.mentions or scene.background) for scene in parsed)
        fluent = sum(triple in known for triple in triples) / len(triples)
        return (telling / len(sentences) + fluent + len(set(sentences)) / len(sentences)) / 3


class _Triples:
    """Word triples with the values of attributes as their slots, and both ends marked."""

    def __init__(self, parser: Callable[[str], Scene], truths: Sequence[Scene]) -> None:
        self.parser = parser
        self.slots = _slots([mention for truth in truths for mention in truth.mentions])

    def of(self, text: str) -> list[Triple]:
        slots = {**_slots(self.parser(text).mentions), **self.slots}
        words = ["<>" if word[0] == "<" else slots.get(word, word) for word in tokenize(text)]
        is_ended = text.rstrip().endswith((".", "!", "?"))
        line = ["", *words, "." if is_ended else "…"]
        return list(zip(line, line[1:], line[2:], strict=False))


def num_right(said: Scene, truth: Scene) -> int:
    """Count the facts that are right if mentions and beings are paired as favourably as possible.

    >>> bears = Scene((Mention({"colour": "red"}, "<bo>"), Mention({"colour": "blue"})))
    >>> num_right(Scene((Mention({"colour": "blue"}), Mention({"colour": "red"}, "<mo>"))), bears)
    2
    """
    agreeing = [
        [len(slots(m).items() & slots(b).items()) for b in truth.mentions] for m in said.mentions
    ]
    shared = np.reshape(agreeing, (len(said.mentions), len(truth.mentions)))
    right = int(shared[linear_sum_assignment(shared, maximize=True)].sum())
    is_setting_right = said.background is not None and said.background == truth.background
    return right + is_setting_right


def _slots(mentions: Collection[Mention]) -> dict[str, str]:
    return {
        value: f"[{slot}]" for mention in mentions for slot, value in mention.attributes.items()
    }
