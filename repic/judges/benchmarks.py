"""What published benchmarks ask a judge: facts (DCScore) and multiple choice (CaptionQA).

As in ``questions``, each function returns an item for every caption (or question), in order, and
None where the judge gave no answer. The words in ``conf/judge/`` are ours, not the benchmarks'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from repic.judges.answers import FACTS, TaggedFact, matches, parse_letter, verdicts
from repic.judges.client import Judge, Picture, Question
from repic.judges.questions import ask_some


@dataclass(frozen=True)
class Choice:
    """A question about a picture that its caption shall answer.

    Attributes:
        caption: all that may be used.
        question: the question.
        options: the answers to choose from, 26 at most.
    """

    caption: str
    question: str
    options: tuple[str, ...]


def extract_facts(
    judge: Judge, texts: Sequence[str], *, trial: int = 0
) -> list[tuple[TaggedFact, ...] | None]:
    """Take texts apart into facts, each with its relevance; a blank text has none."""
    asked = {
        i: Question(judge.prompts.render("facts", caption=text), FACTS, trial=trial)
        for i, text in enumerate(texts)
        if text.strip()
    }
    return ask_some(judge, asked, [()] * len(texts))


def match_facts(
    judge: Judge,
    facts: Sequence[Sequence[str]],
    oracles: Sequence[Sequence[str]],
    *,
    trial: int = 0,
) -> list[tuple[int | None, ...] | None]:
    """Find for each fact the place of the oracle fact that says the same; None if none does."""
    asked = {
        i: Question(
            judge.prompts.render("match", facts=list(some), oracle=list(oracle)),
            matches(len(some), len(oracle)),
            trial=trial,
        )
        for i, (some, oracle) in enumerate(zip(facts, oracles, strict=True))
        if some and oracle
    }
    return ask_some(judge, asked, [(None,) * len(some) for some in facts])


def check_facts(
    judge: Judge,
    pictures: Sequence[Picture],
    facts: Sequence[Sequence[str]],
    known: Sequence[Sequence[str]],
    *,
    trial: int = 0,
) -> list[tuple[bool, ...] | None]:
    """Tell for each fact whether its picture shows it; ``known`` are facts that tell of names."""
    asked = {
        i: Question(
            judge.prompts.render("check", facts=list(some), known=list(names)),
            verdicts(len(some)),
            (picture,),
            trial,
        )
        for i, (picture, some, names) in enumerate(zip(pictures, facts, known, strict=True))
        if some
    }
    return ask_some(judge, asked, [()] * len(facts))


def choose_options(judge: Judge, choices: Sequence[Choice]) -> list[int | None]:
    """Choose for each question the place of an option."""
    asked = {
        i: Question(
            judge.prompts.render(
                "quiz",
                caption=choice.caption,
                question=choice.question,
                options=list(choice.options),
            ),
            partial(parse_letter, count=len(choice.options)),
        )
        for i, choice in enumerate(choices)
    }
    return ask_some(judge, asked, [0] * len(choices))
