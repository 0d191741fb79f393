"""Multiple-choice questions about a picture: from a file, or from what its references say.

A file is a JSON object from images, named as the captions name them, to lists of questions:

    {"a.jpg": [{"question": "What sits on the left?", "choices": ["A bear", "A cat"],
                "answer": "A bear"}]}

The answer is one of the choices, as it is written there.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from repic.files import as_shape, read_json
from repic.metrics.captions.grammar_facts import (
    NAME,
    SETTING,
    GrammarSource,
    Parser,
    Unread,
)
from repic.types import Mention, Scene

MOST_CHOICES = 25  # with "cannot answer" there are letters for all
NO_NAME = "no name"
NUM_DISTRACTORS = 3

_NOUNS = {"accessory_colour": "colour of the accessory", "position": "place"}


@dataclass(frozen=True)
class About:
    """What a question from a scene asks, for a judge that reads captions by grammar.

    Attributes:
        being: what identifies whom it is about, by slot; empty for the setting.
        slot: what is asked.
    """

    being: tuple[tuple[str, str], ...]
    slot: str


@dataclass(frozen=True)
class Quiz:
    """A question with its choices.

    Attributes:
        answer: the place of the right choice.
        about: what it asks, if it comes from a scene.
    """

    question: str
    choices: tuple[str, ...]
    answer: int
    about: About | None = None

    @property
    def is_yes_no(self) -> bool:
        return {choice.strip(" .").lower() for choice in self.choices} == {"yes", "no"}


@dataclass(frozen=True)
class _Question:
    """A question as a file has it."""

    question: str
    choices: tuple[str, ...]
    answer: str


class SceneQuizzes(GrammarSource):
    """Questions of what complete references say, the same ones whenever they are asked for.

    Of every being each slot and the name is asked, and once the setting. A being is identified by
    its name, where it has one, or else by as few other slots as tell it apart from all others
    (where none do, nothing is asked). Wrong choices are other values of the same slot.

    Args:
        parser: from a text to the facts that it states.
        unread: from a text to the clauses that ``parser`` passes over.
        values: of every slot, the setting ("background") included.
    """

    num_wrong = NUM_DISTRACTORS

    def __init__(
        self, *, parser: Parser, unread: Unread, values: Mapping[str, Sequence[str]]
    ) -> None:
        super().__init__(parser=parser, unread=unread)
        self.values = values

    def __call__(self, references: Sequence[str]) -> tuple[Quiz, ...]:
        """List the questions; none where no reference is read as a whole."""
        return tuple(self._quizzes(self.truth(references)))

    def _quizzes(self, truth: Scene) -> Iterator[Quiz]:
        names = [mention.name for mention in truth.mentions if mention.name]
        for mention in truth.mentions:
            for slot, value in mention.attributes.items():
                if being := self._identify(mention, truth, without=slot):
                    yield self._quiz(About(being, slot), value, self.values[slot])
            if being := self._identify(mention, truth, without=NAME):
                yield self._quiz(About(being, NAME), mention.name or NO_NAME, [*names, NO_NAME])
        if truth.background:
            yield self._quiz(About((), SETTING), truth.background, self.values[SETTING])

    def _identify(
        self, mention: Mention, truth: Scene, *, without: str
    ) -> tuple[tuple[str, str], ...]:
        """The fewest slots that only this being has so; empty if there are none."""
        if mention.name and without != NAME and _bearers(truth, ((NAME, mention.name),)) == 1:
            return ((NAME, mention.name),)
        slots = [pair for pair in mention.attributes.items() if pair[0] != without]
        for size in range(1, len(slots) + 1):
            for some in combinations(slots, size):
                if _bearers(truth, some) == 1:
                    return some
        return ()

    def _quiz(self, about: About, right: str, values: Sequence[str]) -> Quiz:
        (slot, value), *more = about.being or ((SETTING, ""),)
        who = value if slot == NAME else f"the one with {_noun(slot)} {value}"
        who = " and ".join([who, *(f"{_noun(slot)} {value}" for slot, value in more)])
        if about.slot == NAME:
            question = f"By which name is {who} called?"
        elif about.slot == SETTING:
            question = "What is the background of the picture?"
        else:
            question = f"What is the {_noun(about.slot)} of {who}?"
        rng = random.Random(f"{question}/{right}")
        others = sorted({value for value in values if value != right})
        wrong = rng.sample(others, min(self.num_wrong, len(others)))
        choices = sorted([right, *wrong])
        return Quiz(question, tuple(choices), choices.index(right), about)


def answer_by_grammar(quiz: Quiz, said: Scene) -> int | None:
    """Answer by what a caption says; None where it does not say, or says two things.

    Raises:
        ValueError: the question comes from a file.
    """
    if quiz.about is None:
        raise ValueError(f"{quiz.question!r} does not come from a scene")
    being, slot = quiz.about.being, quiz.about.slot
    if slot == SETTING:
        found = {said.background}
    else:
        told = [mention for mention in said.mentions if _fits(mention, being)]
        found = {m.name or NO_NAME if slot == NAME else m.attributes.get(slot) for m in told}
    found -= {None}
    value = found.pop() if len(found) == 1 else None
    return quiz.choices.index(value) if value in quiz.choices else None


def read_quizzes(file: Path) -> dict[str, tuple[Quiz, ...]]:
    """Read a file of questions, by image.

    Raises:
        ValueError: it cannot be read, or a row is not right; the message names it.
    """
    mend = "mend metrics.scorers.caption_qa.questions"
    table = as_shape(dict[str, list[_Question]], read_json(file, mend=mend), str(file))
    return {
        image: tuple(
            _quiz(f"{file}, image {image!r}, question {number}", row)
            for number, row in enumerate(rows, start=1)
        )
        for image, rows in table.items()
    }


def _quiz(place: str, row: _Question) -> Quiz:
    question, choices, answer = row.question, row.choices, row.answer
    if not question.strip():
        raise ValueError(f"{place}: 'question' is empty, need text")
    if not 2 <= len(set(choices)) == len(choices) <= MOST_CHOICES:
        raise ValueError(f"{place}: 'choices' need 2 to {MOST_CHOICES} different ones")
    if answer not in choices:
        raise ValueError(f"{place}: 'answer' is {answer!r}, which is none of the choices")
    return Quiz(question, choices, choices.index(answer))


def _noun(slot: str) -> str:
    return _NOUNS.get(slot, slot)


def _bearers(scene: Scene, being: Sequence[tuple[str, str]]) -> int:
    return sum(_fits(mention, being) for mention in scene.mentions)


def _fits(mention: Mention, being: Sequence[tuple[str, str]]) -> bool:
    stated = {**mention.attributes, NAME: mention.name}
    return all(stated.get(slot) == value for slot, value in being)
