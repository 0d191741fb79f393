"""DCScore's facts as a model judges them: extract, match with the references' facts, check."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from repic.judges.answers import TaggedFact
from repic.judges.client import Judge
from repic.judges.questions import check_facts, extract_facts, match_facts
from repic.metrics.captions.dcscore import Trial, Verdict
from repic.metrics.captions.judging import ModelSource, require_answers
from repic.metrics.captions.metric import Captions
from repic.parsing import find_names
from repic.types import ImageSource

STEPS = ("extract", "match", "verify")

Texts = tuple[str, ...]


class JudgedFacts(ModelSource):
    """A ``FactSource`` that asks a model.

    Args:
        judge: of ``conf/judge/``; None leaves the metric out.
        trials: how often to "extract", "match" and "verify"; every combination is a trial. They
            differ only if the judge's temperature is above 0.
    """

    needs = "a reference caption with a fact in it"

    def __init__(self, *, judge: Judge | None, trials: Mapping[str, int]) -> None:
        if set(trials) != set(STEPS) or any(number < 1 for number in trials.values()):
            raise ValueError(
                f"metrics.scorers.dcscore.sources.judge.trials: {dict(trials)} is not a number of"
                f" 1 or more for each of {', '.join(STEPS)}"
            )
        super().__init__(judge=judge)
        self.num_trials = dict(trials)

    def trials(self, captions: Captions) -> list[list[Trial | None] | None]:
        oracles = self._oracles(captions.references)
        asked = [i for i, oracle in enumerate(oracles) if oracle != ()]
        found: dict[int, list[Trial | None]] = {i: [] for i in asked}
        for extraction in range(self.num_trials["extract"]):
            for i, trial in self._trials(captions, {i: oracles[i] for i in asked}, extraction):
                found[i].append(trial)
        return [found.get(i) for i in range(len(oracles))]

    def _oracles(self, references: Sequence[Sequence[str]]) -> list[Texts | None]:
        """Facts of the references that are no remarks, each group once; None: no answer."""
        texts = ["\n".join(group).strip() for group in references]
        different = list(dict.fromkeys(texts))
        facts = dict(zip(different, extract_facts(self.asked, different), strict=True))
        return [_relevant(facts[text]) for text in texts]

    def _trials(
        self, captions: Captions, oracles: Mapping[int, Texts | None], extraction: int
    ) -> Iterator[tuple[int, Trial | None]]:
        """Yield place and trial of every caption that has an oracle, for one extraction."""
        texts = [captions.texts[i] for i in oracles]
        extracted = extract_facts(self.asked, texts, trial=extraction)
        require_answers([some for some, t in zip(extracted, texts, strict=True) if t.strip()])
        ready: dict[int, tuple[Sequence[TaggedFact], Texts]] = {}
        for (i, oracle), facts in zip(oracles.items(), extracted, strict=True):
            if facts is not None and oracle is not None:
                ready[i] = facts, oracle
        matches = self._matches(list(ready.values()), extraction)
        checks = self._checks(list(ready.values()), _pictures(captions, ready), extraction)
        for i in oracles.keys() - ready.keys():
            yield from [(i, None)] * (len(matches) * len(checks))
        for match, check in product(matches, checks):
            for (i, (facts, oracle)), partners, shown in zip(
                ready.items(), match, check, strict=True
            ):
                yield i, _trial(facts, oracle, partners, shown)

    def _matches(
        self, ready: Sequence[tuple[Sequence[TaggedFact], Texts]], extraction: int
    ) -> list[list[tuple[int | None, ...] | None]]:
        number = self.num_trials["match"]
        texts, oracles = [_texts(facts) for facts, _ in ready], [oracle for _, oracle in ready]
        return [
            match_facts(self.asked, texts, oracles, trial=extraction * number + trial)
            for trial in range(number)
        ]

    def _checks(
        self,
        ready: Sequence[tuple[Sequence[TaggedFact], Texts]],
        pictures: Sequence[ImageSource] | None,
        extraction: int,
    ) -> Sequence[Sequence[tuple[bool, ...] | str | None]]:
        """Verdicts by the pictures; without them, once ``_BY_MATCH`` for each caption."""
        if pictures is None:
            return [[_BY_MATCH] * len(ready)]
        number = self.num_trials["verify"]
        texts = [_texts(facts) for facts, _ in ready]
        known = [[fact for fact in oracle if find_names(fact)] for _, oracle in ready]
        return [
            check_facts(self.asked, pictures, texts, known, trial=extraction * number + trial)
            for trial in range(number)
        ]


_BY_MATCH = "a fact is right if it has a partner"


def _pictures(captions: Captions, places: Mapping[int, object]) -> list[ImageSource] | None:
    return None if captions.images is None else [captions.images[i] for i in places]


def _relevant(facts: Sequence[TaggedFact] | None) -> Texts | None:
    return None if facts is None else tuple(text for text, is_relevant in facts if is_relevant)


def _texts(facts: Sequence[TaggedFact]) -> list[str]:
    return [text for text, _ in facts]


def _trial(
    facts: Sequence[TaggedFact],
    oracle: Texts,
    partners: Sequence[int | None] | None,
    shown: Sequence[bool] | str | None,
) -> Trial | None:
    """Join the answers; None if one is missing."""
    if partners is None or shown is None:
        return None
    right = [p is not None for p in partners] if isinstance(shown, str) else shown
    verdicts = (
        Verdict(is_relevant, is_right, partner)
        for (_, is_relevant), is_right, partner in zip(facts, right, partners, strict=True)
    )
    return Trial(tuple(verdicts), len(oracle))
