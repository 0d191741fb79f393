"""Claims and language as a model judges them, for data without a known scene.

The reference's units are the claims of its answers, taken apart once for each example. A claim that
uses a bracketed name of nobody present is false, whatever the judge says. A claim that is repeated
is one claim (the judge is told so).

A question that is not answered makes its component fail, and no other: see ``masked``.
"""

from collections.abc import Sequence

from repic.judges.client import Judge
from repic.judges.questions import (
    Claims,
    LanguageScores,
    covered_units,
    extract_claims,
    language_scores,
    right_claims,
    verify_claims,
)
from repic.rewards.claims import Findings, Share
from repic.types import Example


class _Asking:
    """Asks a model.

    Args:
        judge: of ``conf/judge/``.
    """

    def __init__(self, *, judge: Judge | None) -> None:
        if judge is None:
            raise ValueError(
                "reward=balcaprl_judge asks a model: choose judge=openai or judge=local"
            )
        self.judge = judge

    def take_counts(self) -> dict[str, float]:
        return self.judge.take_counts()


class JudgedClaims(_Asking):
    """Judges claims; what "verified and pointable" means stands in the judge's prompt."""

    def __init__(self, *, judge: Judge | None) -> None:
        super().__init__(judge=judge)
        self._units: dict[tuple[str, ...], Claims] = {}  # by the answers that they were found in

    def applies(self, example: Example) -> bool:
        return example.query is not None

    def assess(self, captions: Sequence[str], examples: Sequence[Example]) -> list[Findings]:
        claims = self._extract(captions, examples)
        units = [self._units.get(example.answers) for example in examples]
        right, covered = self._right(claims, examples), self._covered(captions, units)
        return [Findings(*shares) for shares in zip(right, covered, strict=True)]

    def _extract(
        self, captions: Sequence[str], examples: Sequence[Example]
    ) -> Sequence[Claims | None]:
        """Return the captions' claims; keep those of answers that are new, in the same batch."""
        new = list(dict.fromkeys(e.answers for e in examples if e.answers not in self._units))
        texts = ["\n".join(answers) for answers in new]
        found = extract_claims(self.judge, [*captions, *texts])
        for answers, units in zip(new, found[len(captions) :], strict=True):
            if units is not None:
                self._units[answers] = units
        return found[: len(captions)]

    def _right(
        self, claims: Sequence[Claims | None], examples: Sequence[Example]
    ) -> list[Share | None]:
        """How many of each caption's claims hold."""
        pictures = [example.query for example in examples if example.query is not None]
        assert len(pictures) == len(examples), "JudgedClaims applies where there is a picture"
        verdicts = verify_claims(self.judge, pictures, [some or () for some in claims])
        return [
            None
            if some is None or held is None
            else Share(right_claims(some, held, example.present), len(some))
            for some, held, example in zip(claims, verdicts, examples, strict=True)
        ]

    def _covered(
        self, captions: Sequence[str], units: Sequence[Claims | None]
    ) -> list[Share | None]:
        """How many of each reference's units its caption covers."""
        verdicts = covered_units(self.judge, captions, [some or () for some in units])
        return [
            None if some is None or said is None else Share(sum(said), len(some))
            for some, said in zip(units, verdicts, strict=True)
        ]


class JudgedLanguage(_Asking):
    """Judges how captions read; what the three marks mean stands in the judge's prompt."""

    def applies(self, example: Example) -> bool:
        return True

    def assess(
        self, captions: Sequence[str], examples: Sequence[Example]
    ) -> list[LanguageScores | None]:
        del examples
        return language_scores(self.judge, captions)
