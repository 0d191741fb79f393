"""Which of two captions of one picture is better: an exact judge, and a model."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from repic.judges.client import Judge
from repic.judges.questions import CaptionPair, Preference, prefer
from repic.metrics.captions.grammar_facts import (
    NAME,
    Claim,
    GrammarSource,
    Parser,
    Unread,
    judge_facts,
    scene_facts,
)
from repic.metrics.captions.judging import ModelSource, Source, require_answers
from repic.values import Text


@runtime_checkable
class PairJudge(Source, Protocol):
    """Chooses between captions; swapping the two must mirror its choice."""

    def applies(self, pair: CaptionPair) -> bool:
        """Whether it knows enough of a pair."""
        ...

    def prefer(self, pairs: Sequence[CaptionPair]) -> list[Preference | None]:
        """Choose, for pairs to which it applies; None where there is no verdict."""
        ...


class GrammarPairs(GrammarSource):
    """A ``PairJudge`` by exact counts: facts told rightly, each once, less claims that are false.

    Args:
        parser: from a text to the facts that it states.
        unread: from a text to the clauses that ``parser`` passes over.
        names_first: names alone decide, and all else only where they are equal.
    """

    def __init__(self, *, parser: Parser, unread: Unread, names_first: bool) -> None:
        super().__init__(parser=parser, unread=unread)
        self.names_first = names_first

    def applies(self, pair: CaptionPair) -> bool:
        return bool(self.truth(pair.references).mentions)

    def prefer(self, pairs: Sequence[CaptionPair]) -> list[Preference | None]:
        preferences: list[Preference | None] = []
        for pair in pairs:
            truth = scene_facts(self.truth(pair.references))
            first, second = (
                self._worth(judge_facts(self.facts(text), truth))
                for text in (pair.first, pair.second)
            )
            score = 0.5 if first == second else float(first > second)
            preferences.append(Preference(score, is_consistent=True))
        return preferences

    def _worth(self, claims: Sequence[Claim]) -> tuple[int, ...]:
        names = [claim for claim in claims if claim.fact.slot == NAME]
        return (net(names), net(claims)) if self.names_first else (net(claims),)


def net(claims: Sequence[Claim]) -> int:
    """Different facts told rightly, less claims that are false."""
    right = {claim.oracle for claim in claims} - {None}
    return len(right) - sum(claim.oracle is None for claim in claims)


class JudgedPairs(ModelSource):
    """A ``PairJudge`` that asks a model about both orders; a choice that changes is a tie.

    Args:
        judge: of ``conf/judge/``; None leaves the metric out.
        prompt: what is better: "prefer" (as a caption) or "personal".
    """

    needs = "its picture at hand (of captions from files: phase.<phase>.images)"

    def __init__(self, *, judge: Judge | None, prompt: Text) -> None:
        super().__init__(judge=judge)
        self.prompt = prompt

    def applies(self, pair: CaptionPair) -> bool:
        return pair.picture is not None

    def prefer(self, pairs: Sequence[CaptionPair]) -> list[Preference | None]:
        found = prefer(self.asked, pairs, prompt=self.prompt)
        # Two equal captions are a tie that nobody is asked about.
        require_answers(
            [p for p, pair in zip(found, pairs, strict=True) if pair.first != pair.second]
        )
        return found
