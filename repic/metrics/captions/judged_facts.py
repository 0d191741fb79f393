"""DCScore's facts as a model judges them: extract, match with the references' facts, check."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypedDict

from repic.judges.answers import TaggedFact
from repic.judges.client import Judge
from repic.judges.questions import check_facts, extract_facts, match_facts
from repic.metrics.captions.dcscore import Trial, Verdict
from repic.metrics.captions.judging import ModelSource, require_answers
from repic.metrics.captions.metric import Captions
from repic.parsing import find_names
from repic.types import ImageSource
from repic.values import Count


class Trials(TypedDict):
    """How often each step of a trial is done."""

    extract: Count
    match: Count
    verify: Count


Texts = tuple[str, ...]


class JudgedFacts(ModelSource):
    """A ``FactSource`` that asks a model.

    Args:
        judge: of ``conf/judge/``; None leaves the metric out.
        trials: every combination of them is a trial. They differ only if the judge's temperature
            is above 0.
    """

    needs = "a reference caption with a fact in it"

    def __init__(self, *, judge: Judge | None, trials: Trials) -> None:
        super().__init__(judge=judge)
        self.num_trials = trials

    def trials(self, captions: Captions) -> list[list[Trial | None] | None]:
        oracles = self._oracles(captions.references)
        # Where there is no oracle nothing is asked, as of a blank caption.
        texts = ["" if o == () else text for o, text in zip(oracles, captions.texts, strict=True)]
        rounds = [
            trials
            for extraction in range(self.num_trials["extract"])
            for trials in self._rounds(texts, oracles, captions.images, extraction)
        ]
        return [
            None if oracle == () else list(trials)
            for oracle, *trials in zip(oracles, *rounds, strict=True)
        ]

    def _oracles(self, references: Sequence[Sequence[str]]) -> list[Texts | None]:
        """Facts of the references that are no remarks, each group once; None: no answer."""
        texts = ["\n".join(group).strip() for group in references]
        different = list(dict.fromkeys(texts))
        facts = dict(zip(different, extract_facts(self.asked, different), strict=True))
        return [_relevant(facts[text]) for text in texts]

    def _rounds(
        self,
        texts: Sequence[str],
        oracles: Sequence[Texts | None],
        images: Sequence[ImageSource] | None,
        extraction: int,
    ) -> Iterator[list[Trial | None]]:
        """Yield every combination's trials of all captions, for one extraction."""
        extracted = extract_facts(self.asked, texts, trial=extraction)
        require_answers([some for some, t in zip(extracted, texts, strict=True) if t.strip()])
        facts = [
            [text for text, _ in some] if some and oracle else []
            for some, oracle in zip(extracted, oracles, strict=True)
        ]
        known = [oracle or () for oracle in oracles]
        num_matches, num_checks = self.num_trials["match"], self.num_trials["verify"]
        matches = [
            match_facts(self.asked, facts, known, trial=extraction * num_matches + trial)
            for trial in range(num_matches)
        ]
        checks: Sequence[Sequence[tuple[bool, ...] | str | None]] = [[_BY_MATCH] * len(texts)]
        if images is not None:
            named = [[fact for fact in oracle if find_names(fact)] for oracle in known]
            checks = [
                check_facts(self.asked, images, facts, named, trial=extraction * num_checks + trial)
                for trial in range(num_checks)
            ]
        for match, check in product(matches, checks):
            yield [_trial(*parts) for parts in zip(extracted, oracles, match, check, strict=True)]


_BY_MATCH = "a fact is right if it has a partner"


def _relevant(facts: Sequence[TaggedFact] | None) -> Texts | None:
    return None if facts is None else tuple(text for text, is_relevant in facts if is_relevant)


def _trial(
    facts: Sequence[TaggedFact] | None,
    oracle: Texts | None,
    partners: Sequence[int | None] | None,
    shown: Sequence[bool] | str | None,
) -> Trial | None:
    """Join the answers; None if one is missing."""
    if facts is None or oracle is None or partners is None or shown is None:
        return None
    right = [p is not None for p in partners] if isinstance(shown, str) else shown
    verdicts = (
        Verdict(is_relevant, is_right, partner)
        for (_, is_relevant), is_right, partner in zip(facts, right, partners, strict=True)
    )
    return Trial(tuple(verdicts), len(oracle))
