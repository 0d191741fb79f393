"""What captions are asked about: typed questions, each over many captions in one batch.

Each function returns an item for every caption, in order; None where the judge gave no answer
(never a 0: that would be a verdict). What can be told without a judge is not asked.

Precision of verified and pointable claims, coverage of the reference's units, and language are
those of BalCapRL, https://arxiv.org/abs/2605.07394; facts are DCScore's,
https://arxiv.org/abs/2503.07906, and options CaptionQA's, https://arxiv.org/abs/2511.21025. The
words in ``conf/judge/`` are ours: BalCapRL's are not published.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from repic.judges.answers import (
    FACTS,
    HIGHEST,
    LOWEST,
    TEXTS,
    Choice,
    JsonForm,
    Mark,
    TaggedFact,
    matches,
    parse_choice,
    parse_letter,
    verdicts,
)
from repic.judges.client import Judge, Picture, Question
from repic.parsing import find_names

T = TypeVar("T")
Answers = list[T | None]
Claims = tuple[str, ...]

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


def extract_claims(judge: Judge, captions: Sequence[str]) -> Answers[Claims]:
    """Take captions apart into atomic claims; a blank caption claims nothing."""
    return ask_some(
        judge,
        [
            judge.question("claims", TEXTS, caption=text) if text.strip() else ()
            for text in captions
        ],
    )


def verify_claims(
    judge: Judge, pictures: Sequence[Picture], claims: Sequence[Sequence[str]]
) -> Answers[tuple[bool, ...]]:
    """Tell for each claim whether its picture shows it: verified, and pointable.

    A claim is pointable if it is of something visible that can be pointed at, or of something that
    visible evidence supports; comments ("a cosy scene") are not.
    """
    return ask_some(
        judge,
        [
            judge.question("verify", verdicts(len(some)), picture, claims=some) if some else ()
            for picture, some in zip(pictures, claims, strict=True)
        ],
    )


def covered_units(
    judge: Judge, captions: Sequence[str], units: Sequence[Sequence[str]]
) -> Answers[tuple[bool, ...]]:
    """Tell for each of a reference's units whether the caption says it, too."""
    return ask_some(
        judge,
        [
            judge.question("coverage", verdicts(len(some)), caption=caption, units=some)
            if some and caption.strip()
            else (False,) * len(some)
            for caption, some in zip(captions, units, strict=True)
        ],
    )


def right_claims(
    claims: Sequence[str], held: Sequence[bool], names: Sequence[str] | None = None
) -> int:
    """Count the claims that hold and use no name but these.

    A name cannot be seen: the judge takes it as right where the rest of a claim is. So a claim
    that names somebody else is false, whatever the judge says; two names that are exchanged are
    not noticed. With None every name will do.
    """
    return sum(
        holds and (names is None or set(find_names(claim)) <= set(names))
        for claim, holds in zip(claims, held, strict=True)
    )


def language_scores(judge: Judge, captions: Sequence[str]) -> Answers[LanguageScores]:
    """Score clarity, fluency and coherence; a blank caption has the lowest."""
    scale, worst = {"low": LOWEST, "high": HIGHEST}, LanguageScores(0.0, 0.0, 0.0)
    return ask_some(
        judge,
        [
            judge.question("language", LANGUAGE, caption=text, **scale) if text.strip() else worst
            for text in captions
        ],
    )


def prefer(
    judge: Judge, pairs: Sequence[CaptionPair], *, prompt: str = "prefer"
) -> Answers[Preference]:
    """Choose between captions, each pair in both orders; a choice that changes is a tie.

    The conservative rule against the judge's liking for a position of
    https://arxiv.org/abs/2306.05685, section 3.4. The judge counts the changed ones as
    ``inconsistent``. Swapping ``first`` and ``second`` turns a score into 1 - score. Two equal
    captions are a tie. ``prompt`` says what is better: "prefer" or "personal".
    """
    asked = [i for i, pair in enumerate(pairs) if pair.first != pair.second]
    questions = [question for i in asked for question in _both_orders(judge, pairs[i], prompt)]
    choices = judge.ask_all(questions)
    preferences: list[Preference | None] = [Preference(0.5, True)] * len(pairs)
    for i, as_given, swapped in zip(asked, choices[::2], choices[1::2], strict=True):
        preferences[i] = agree(as_given, swapped)
    judge.count("inconsistent", sum(p is not None and not p.is_consistent for p in preferences))
    return preferences


def _both_orders(judge: Judge, pair: CaptionPair, prompt: str) -> list[Question[Choice]]:
    given: dict[str, Any] = {
        "names": pair.names,
        "references": pair.references,
        "infos": pair.infos,
    }
    pictures = () if pair.picture is None else (pair.picture,)
    return [
        judge.question(prompt, parse_choice, *pictures, first=a, second=b, **given)
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


def extract_facts(
    judge: Judge, texts: Sequence[str], *, trial: int = 0
) -> Answers[tuple[TaggedFact, ...]]:
    """Take texts apart into facts, each with its relevance; a blank text has none."""
    return ask_some(
        judge,
        [
            judge.question("facts", FACTS, trial=trial, caption=text) if text.strip() else ()
            for text in texts
        ],
    )


def match_facts(
    judge: Judge,
    facts: Sequence[Sequence[str]],
    oracles: Sequence[Sequence[str]],
    *,
    trial: int = 0,
) -> Answers[tuple[int | None, ...]]:
    """Find for each fact the place of the oracle fact that says the same; None if none does."""
    return ask_some(
        judge,
        [
            judge.question(
                "match", matches(len(some), len(oracle)), trial=trial, facts=some, oracle=oracle
            )
            if some and oracle
            else (None,) * len(some)
            for some, oracle in zip(facts, oracles, strict=True)
        ],
    )


def check_facts(
    judge: Judge,
    pictures: Sequence[Picture],
    facts: Sequence[Sequence[str]],
    known: Sequence[Sequence[str]],
    *,
    trial: int = 0,
) -> Answers[tuple[bool, ...]]:
    """Tell for each fact whether its picture shows it; ``known`` are facts that tell of names."""
    return ask_some(
        judge,
        [
            judge.question(
                "check", verdicts(len(some)), picture, trial=trial, facts=some, known=names
            )
            if some
            else ()
            for picture, some, names in zip(pictures, facts, known, strict=True)
        ],
    )


def choose_options(judge: Judge, asked: Sequence[tuple[str, str, Sequence[str]]]) -> Answers[int]:
    """Choose the place of an option for each caption, question and (26 at most) options."""
    return ask_some(
        judge,
        [
            judge.question(
                "quiz",
                partial(parse_letter, count=len(options)),
                caption=caption,
                question=question,
                options=options,
            )
            for caption, question, options in asked
        ],
    )


def ask_some(judge: Judge, items: Sequence[Question[T] | T]) -> Answers[T]:
    """Ask the questions among the items; the others are answers that need no judge."""
    answers = iter(judge.ask_all([item for item in items if isinstance(item, Question)]))
    return [next(answers) if isinstance(item, Question) else item for item in items]
