"""Is it a good caption? Fluency, informativeness and accuracy by rule, each its own component.

Who is named is no part of it: names are taken out of captions, answers and corpus alike. To CIDEr
they would be rare words, worth more than all others, and it would judge recognition once more.

- ``cider``: CIDEr-D against the example's answers, divided by 10: linear, in [0, 1] without a
  clip. Its Gaussian on length punishes padding and truncation, its clipped counts repetition.
- ``cider_with_names``: the same with every name a word, for comparisons with BalCapRL and others
  that judge so; it is there where ``with_names`` asks for it.
- ``fact_precision``: right facts / stated facts; ``fact_recall``: right facts / true facts
  (``assignment.count_facts``). A being described twice is right once, and stated twice. A caption
  that states nothing has 0 in both. NaN where the true scene is unknown.
- ``fluency``: the share of bigrams that occur in the corpus or the answers and are not in excess,
  if the caption ends as a sentence does, else 0. A bigram is in excess where it occurs again, and
  more often than in any of the answers (complete answers about several beings do repeat "on the
  left"). A caption of fewer than two words has 0.

Which components are NaN depends on the example alone, never on the caption, so that no caption
escapes from being judged.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from functools import cached_property, lru_cache
from itertools import pairwise

from repic.parsing import tokenize_caption, without_names
from repic.rewards.assignment import count_facts
from repic.rewards.cider import CiderD
from repic.types import Example, Scene
from repic.values import Tasks

NAN = float("nan")
Bigram = tuple[str, str]


class QualityReward:
    """Components ``cider``, ``fact_precision``, ``fact_recall``, ``fluency``, each in [0, 1].

    With names a fifth one, ``cider_with_names``.

    Args:
        parser: from a caption to the facts that it states.
        corpus: reference captions, a list for each picture, for document frequencies. It is read
            once, when the first caption is scored. None for data without answers.
        tasks: the tasks whose answers are captions; elsewhere every component is NaN.
        with_names: adds that component.
    """

    def __init__(
        self,
        *,
        parser: Callable[[str], Scene],
        corpus: Iterable[Sequence[str]] | None,
        tasks: Tasks,
        with_names: bool = False,
    ) -> None:
        self.parser, self.tasks, self.with_names = parser, frozenset(tasks), with_names
        self._corpus = corpus
        self.components = ("cider", "fact_precision", "fact_recall", "fluency")
        self.components += ("cider_with_names",) if with_names else ()

    @cached_property
    def corpus(self) -> list[list[str]]:
        """The reference captions of each picture, as they are."""
        if self._corpus is None:
            raise ValueError(
                "data.reward_corpus: null leaves cider and fluency without captions to count words"
                " in, and this data has answers to compare with; set it as conf/data/toybox.yaml"
                " does, or choose reward=none"
            )
        return [list(captions) for captions in self._corpus]

    @cached_property
    def cider(self) -> CiderD:
        """The scorer of captions without names."""
        return CiderD.from_corpus([without_names(c, ()) for c in each] for each in self.corpus)

    @cached_property
    def cider_with_names(self) -> CiderD:
        """The scorer of captions as they are."""
        return CiderD.from_corpus(self.corpus)

    @cached_property
    def bigrams(self) -> Set[Bigram]:
        """Every pair of neighbouring words in the corpus."""
        ngrams = self.cider.document_frequencies
        return {(ngram[0], ngram[1]) for ngram in ngrams if len(ngram) == 2}

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        if example.task not in self.tasks or not example.answers:
            return dict.fromkeys(self.components, NAN)
        precision, recall = self._facts(caption, example.scene)
        known = tuple(sorted({*example.pool, *example.present}))
        answers = _nameless(example.answers, known)
        (said,) = _nameless((caption,), known)
        parts = {
            "cider": self.cider.score(said, answers) / 10.0,
            "fact_precision": precision,
            "fact_recall": recall,
            "fluency": fluency(said, answers, self.bigrams),
        }
        if self.with_names:
            score = self.cider_with_names.score(caption, example.answers)
            parts["cider_with_names"] = score / 10.0
        return parts

    def _facts(self, caption: str, scene: Scene | None) -> tuple[float, float]:
        if scene is None:
            return NAN, NAN
        facts = count_facts(self.parser(caption), scene)
        return facts.right / max(facts.stated, 1), facts.right / max(facts.true, 1)


def fluency(caption: str, answers: Sequence[str], known: Set[Bigram]) -> float:
    """Share of bigrams that are known and not in excess; see the module's docstring.

    >>> fluency("A bear, a bear, a hat.", ["A red bear."], {("a", "bear"), ("bear", "a")})
    0.4
    """
    bigrams = count_bigrams(caption)
    if not bigrams or not caption.rstrip(" \n\"'”’)").endswith((".", "!", "?")):
        return 0.0
    allowed = _most_bigrams(tuple(answers))
    good = sum(
        min(count, max(1, allowed[pair]))
        for pair, count in bigrams.items()
        if pair in known or pair in allowed
    )
    return good / bigrams.total()


@lru_cache(maxsize=256)  # the rollouts of a group share their answers
def _most_bigrams(answers: tuple[str, ...]) -> Counter[Bigram]:
    """How often each bigram occurs in the answer that has most of it."""
    most: Counter[Bigram] = Counter()
    for answer in answers:
        most |= count_bigrams(answer)
    return most


def count_bigrams(text: str) -> Counter[Bigram]:
    """Count pairs of neighbouring words, with one word for every name."""
    words = ("<>" if word[0] == "<" else word for word in tokenize_caption(text))
    return Counter(pairwise(words))


@lru_cache(maxsize=1024)  # the rollouts of a group share their answers
def _nameless(texts: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(without_names(text, known) for text in texts)
