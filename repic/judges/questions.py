"""What captions are asked about: typed questions, each over many captions in one batch.

Each function returns an item for every caption, in order; None where the judge gave no answer
(never a 0: that would be a verdict). What can be told without a judge is not asked.

Precision of verified and pointable claims, coverage of the reference's units, and language are
those of BalCapRL, https://arxiv.org/abs/2605.07394, whose judge prompts are not published: the
words in ``conf/judge/`` are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from repic.judges.answers import (
    HIGHEST,
    LOWEST,
    TEXTS,
    Choice,
    JsonForm,
    Mark,
    parse_choice,
    verdicts,
)
from repic.judges.client import Judge, Picture, Question

T = TypeVar("T")

_SCALE = {"low": LOWEST, "high": HIGHEST}  # of the three marks for language
_CREDIT = {"A": 1.0, "tie": 0.5, "B": 0.0}


@dataclass(frozen=True)
class LanguageScores:
    """How a caption reads, each from 0 (worst) to 1."""

    clarity: Mark
    fluency: Mark
    coherence: Mark

    @property
    def mean(self) -> float:
        return (self.clarity + self.fluency + self.coherence) / 3


LANGUAGE: JsonForm[LanguageScores] = JsonForm(LanguageScores, "{")


@dataclass(frozen=True)
class CaptionPair:
    """Two captions of a picture, with what a judge may know of it.

    Attributes:
        first: a caption.
        second: another.
        references: what people say of the picture; may be empty.
        names: of those whom a caption should name, as captions write them.
        infos: what the prompt says of those whom it introduces; may be empty.
        picture: None where it is not at hand.
    """

    first: str
    second: str
    references: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    picture: Picture | None = None


@dataclass(frozen=True)
class Preference:
    """Which of two captions is better.

    Attributes:
        score: the first one's: 1, 0.5 (a tie) or 0.
        is_consistent: the choice did not change with the order in which they were shown.
    """

    score: float
    is_consistent: bool


def extract_claims(judge: Judge, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Take captions apart into atomic claims; a blank caption claims nothing."""
    asked = {
        i: Question(judge.prompts.render("claims", caption=caption), TEXTS)
        for i, caption in enumerate(captions)
        if caption.strip()
    }
    return ask_some(judge, asked, [()] * len(captions))


def verify_claims(
    judge: Judge, pictures: Sequence[Picture], claims: Sequence[Sequence[str]]
) -> list[tuple[bool, ...] | None]:
    """Tell for each claim whether its picture shows it: verified, and pointable.

    A claim is pointable if it is of something visible that can be pointed at, or of something that
    visible evidence supports; comments ("a cosy scene") are not.
    """
    asked = {
        i: Question(
            judge.prompts.render("verify", claims=list(some)),
            verdicts(len(some)),
            (picture,),
        )
        for i, (picture, some) in enumerate(zip(pictures, claims, strict=True))
        if some
    }
    return ask_some(judge, asked, [()] * len(claims))


def covered_units(
    judge: Judge, captions: Sequence[str], units: Sequence[Sequence[str]]
) -> list[tuple[bool, ...] | None]:
    """Tell for each of a reference's units whether the caption says it, too."""
    asked = {
        i: Question(
            judge.prompts.render("coverage", caption=caption, units=list(some)),
            verdicts(len(some)),
        )
        for i, (caption, some) in enumerate(zip(captions, units, strict=True))
        if some and caption.strip()
    }
    return ask_some(judge, asked, [(False,) * len(some) for some in units])


def language_scores(judge: Judge, captions: Sequence[str]) -> list[LanguageScores | None]:
    """Score clarity, fluency and coherence; a blank caption has the lowest."""
    asked = {
        i: Question(judge.prompts.render("language", caption=caption, **_SCALE), LANGUAGE)
        for i, caption in enumerate(captions)
        if caption.strip()
    }
    return ask_some(judge, asked, [LanguageScores(0.0, 0.0, 0.0)] * len(captions))


def prefer(
    judge: Judge, pairs: Sequence[CaptionPair], *, prompt: str = "prefer"
) -> list[Preference | None]:
    """Choose between captions, each pair in both orders; a choice that changes is a tie.

    The conservative rule against the judge's liking for a position of
    https://arxiv.org/abs/2306.05685, section 3.4. The judge counts the changed ones as
    ``inconsistent``. Swapping ``first`` and ``second`` turns a score into 1 - score. Two equal
    captions are a tie. ``prompt`` says what is better: "prefer" or "personal".
    """
    asked = [i for i, pair in enumerate(pairs) if pair.first != pair.second]
    questions = [question for i in asked for question in _both_orders(judge, pairs[i], prompt)]
    choices: list[Choice | None] = [
        None if a is None else a.value for a in judge.ask_all(questions)
    ]
    preferences: list[Preference | None] = [Preference(0.5, True)] * len(pairs)
    for i, as_given, swapped in zip(asked, choices[::2], choices[1::2], strict=True):
        preferences[i] = agree(as_given, swapped)
    judge.count("inconsistent", sum(p is not None and not p.is_consistent for p in preferences))
    return preferences


def _both_orders(judge: Judge, pair: CaptionPair, prompt: str) -> list[Question[Choice]]:
    lists = {"names": pair.names, "references": pair.references, "infos": pair.infos}
    given = {name: list(texts) for name, texts in lists.items()}
    pictures = () if pair.picture is None else (pair.picture,)
    return [
        Question(judge.prompts.render(prompt, first=a, second=b, **given), parse_choice, pictures)
        for a, b in ((pair.first, pair.second), (pair.second, pair.first))
    ]


def agree(as_given: Choice | None, swapped: Choice | None) -> Preference | None:
    """Join the choices of both orders, where A is the one shown first; None if one is missing.

    >>> agree("A", "B"), agree("A", "A").score
    (Preference(score=1.0, is_consistent=True), 0.5)
    """
    if as_given is None or swapped is None:
        return None
    credit, other = _CREDIT[as_given], 1.0 - _CREDIT[swapped]
    return Preference(credit if credit == other else 0.5, credit == other)


def ask_some(judge: Judge, asked: Mapping[int, Question[T]], told: Sequence[T]) -> list[T | None]:
    """Ask some of the captions' questions; ``told`` holds what stands for all others."""
    answers: list[T | None] = list(told)
    for i, answer in zip(asked, judge.ask_all(list(asked.values())), strict=True):
        answers[i] = None if answer is None else answer.value
    return answers
