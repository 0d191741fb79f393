"""Clarity, fluency and coherence by rules, for data with a grammar and known scenes.

- clarity: of the caption's mentions and sentences together, the share that is clear. A mention is,
  if what it states fits at most one being of the scene: "a bear" is not where there are two. A
  sentence is, if it is complete: it begins with a capital, holds a verb, and ends with a mark.
- fluency: ``quality.fluency``, the share of word pairs that are known and not in excess.
- coherence: of the same mentions and sentences, the share that neither repeats nor contradicts
  what was said before. A mention does, if it equals an earlier one, uses a name that an earlier
  one has, or turns back: the scene is gone through from one side to the other. A sentence does, if
  an earlier one has the same words.

A caption without words has 0 in all three. Whether what is said is true does not matter here.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from itertools import pairwise

from repic.judges.questions import LanguageScores
from repic.parsing import tokenize_caption
from repic.rewards.assignment import num_agreeing
from repic.rewards.quality import Bigram, count_bigrams, fluency
from repic.types import Example, Mention, Scene
from repic.values import Text

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_COMPLETE = re.compile(r"[A-Z<].*[.!?]", re.DOTALL)


class LanguageRules:
    """A ``RewardSource`` of language for data whose scenes are known.

    Args:
        parser: from a caption to the facts that it states.
        corpus: reference captions, a list for each picture, for the pairs of words that are known.
            It is read once, when the first caption is scored.
        verbs: a sentence without any of them is not complete.
        place: the attribute that says where a being is.
        order: its values from one side to the other; a value that is not listed is anywhere.
    """

    def __init__(
        self,
        *,
        parser: Callable[[str], Scene],
        corpus: Iterable[Sequence[str]],
        verbs: Collection[Text],
        place: Text,
        order: Sequence[Text],
    ) -> None:
        self.parser, self.corpus, self.verbs = parser, corpus, frozenset(verbs)
        self.place, self.order = place, {value: rank for rank, value in enumerate(order)}

    @cached_property
    def bigrams(self) -> frozenset[Bigram]:
        """Every pair of neighbouring words in the corpus, any name standing for every name."""
        return frozenset(
            pair for answers in self.corpus for text in answers for pair in count_bigrams(text)
        )

    def applies(self, example: Example) -> bool:
        return example.scene is not None and bool(example.answers)

    def assess(self, captions: Sequence[str], examples: Sequence[Example]) -> list[LanguageScores]:
        return [self._score(c, e) for c, e in zip(captions, examples, strict=True)]

    def take_counts(self) -> dict[str, float]:
        return {}

    def _score(self, caption: str, example: Example) -> LanguageScores:
        assert example.scene is not None, "LanguageRules applies where the scene is known"
        if not tokenize_caption(caption):
            return LanguageScores(0.0, 0.0, 0.0)
        mentions = self.parser(caption).mentions
        sentences = _SENTENCE_END.split(caption.strip())
        total = len(mentions) + len(sentences)
        num_clear = sum(_fits_at_most_one(mention, example.scene) for mention in mentions)
        words = [tuple(tokenize_caption(sentence)) for sentence in sentences]
        num_complete = sum(map(self._is_complete, sentences, words))
        num_faults = self._num_faults(mentions) + len(words) - len(set(words))
        return LanguageScores(
            clarity=(num_clear + num_complete) / total,
            fluency=fluency(caption, example.answers, self.bigrams),
            coherence=1 - num_faults / total,
        )

    def _is_complete(self, sentence: str, words: Sequence[str]) -> bool:
        return not self.verbs.isdisjoint(words) and _COMPLETE.fullmatch(sentence) is not None

    def _num_faults(self, mentions: Sequence[Mention]) -> int:
        """Count the mentions that repeat, contradict or turn back."""
        turns = _turns([self.order.get(m.attributes.get(self.place, "")) for m in mentions])
        faults = 0
        for i, mention in enumerate(mentions):
            earlier = mentions[:i]
            is_said = mention in earlier or (
                mention.name is not None and mention.name in {other.name for other in earlier}
            )
            faults += is_said or i in turns
        return faults


def _fits_at_most_one(mention: Mention, scene: Scene) -> bool:
    stated = len(mention.attributes)
    return sum(num_agreeing(mention, being) == stated for being in scene.mentions) <= 1


def _turns(ranks: Sequence[int | None]) -> set[int]:
    """Return the positions at which a way turns back against its first direction.

    >>> _turns([0, 0, None, 1, 2, 1, 2, 0])
    {5, 7}
    """
    placed = [(i, rank) for i, rank in enumerate(ranks) if rank is not None]
    steps = [(i, rank - before) for (_, before), (i, rank) in pairwise(placed) if rank != before]
    return {i for i, step in steps if step * steps[0][1] < 0}
