"""A judge of toybox's captions behind the endpoint of ``judge_server``: it answers by grammar.

It says what the exact judges say, in the form that a model is asked for, so that both ways to a
score can be compared. Facts travel as "being|slot|value"; pictures are recognized by their pixels.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from repic.judges.questions import CaptionPair
from repic.metrics.captions.caption_qa import CANNOT
from repic.metrics.captions.grammar_facts import (
    REMARK,
    Fact,
    GrammarSource,
    judge_facts,
    scene_facts,
)
from repic.metrics.captions.pairs import GrammarPairs
from repic.metrics.captions.quiz import Quiz, answer_by_grammar
from repic.toybox.grammar import parse_caption, unread_clauses
from tests.judge_server import Act, text_of

GRAMMAR = GrammarSource(parser=parse_caption, unread=unread_clauses)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class ExactJudge:
    """Plays for ``judge_server``.

    Args:
        references: of every picture, by its data URL.
        quizzes: every question that may be asked.
    """

    def __init__(
        self, references: Mapping[str, Sequence[str]], quizzes: Sequence[Quiz] = ()
    ) -> None:
        self.references = references
        self.quizzes = {(quiz.question, frozenset(quiz.choices)): quiz for quiz in quizzes}

    def __call__(self, body: dict[str, Any], index: int) -> Act:
        content = body["messages"][0]["content"]
        url = "" if isinstance(content, str) else content[0]["image_url"]["url"]
        return Act(self.answer(text_of(body), list(self.references.get(url, ()))))

    def answer(self, text: str, references: list[str]) -> str:
        if text.startswith("Take a caption"):
            return json.dumps([[_write(f), int(f.slot != REMARK)] for f in _facts(_alone(text))])
        if text.startswith("Two lists of facts"):
            said, truth = _listed(text, "- "), _listed(text, r"\d+\. ")
            claims = judge_facts(list(map(_read, said)), list(map(_read, truth)))
            return json.dumps([0 if c.oracle is None else c.oracle + 1 for c in claims])
        if text.startswith("Check facts"):
            truth = _truth(references)
            claims = judge_facts(list(map(_read, _listed(text, r"\d+\. "))), truth)
            return json.dumps(["no" if c.oracle is None else "yes" for c in claims])
        if text.startswith("You do not see"):
            caption, question = _listed(text, "")
            options = _listed(text, "[A-Z]\\. ")
            quiz = self.quizzes[question, frozenset(options) - {CANNOT}]
            place = answer_by_grammar(quiz, parse_caption(caption))
            return LETTERS[options.index(CANNOT if place is None else quiz.choices[place])]
        assert text.startswith("Two captions"), text
        (first,), (second,) = _listed(text, "A: "), _listed(text, "B: ")
        judge = GrammarPairs(
            parser=parse_caption, unread=unread_clauses, names_first="personalized" in text
        )
        (found,) = judge.prefer([CaptionPair(first, second, tuple(references))])
        assert found is not None
        return {1.0: "A", 0.5: "tie", 0.0: "B"}[found.score]


def _facts(text: str) -> list[Fact]:
    """Of a caption all that it says; of references, which come as lines, the truth."""
    lines = text.split("\n")
    return _truth(lines) if len(lines) > 1 else GRAMMAR.facts(text)


def _truth(references: Sequence[str]) -> list[Fact]:
    return scene_facts(GRAMMAR.truth(references))


def _write(fact: Fact) -> str:
    return f"{'' if fact.being is None else fact.being}|{fact.slot}|{fact.value}"


def _read(text: str) -> Fact:
    being, slot, value = text.split("|")
    return Fact(int(being) if being else None, slot, value)


def _alone(text: str) -> str:
    (found,) = _listed(text, "")
    return found


def _listed(text: str, mark: str) -> list[str]:
    """The JSON strings in lines that begin with a mark."""
    lines = re.findall(rf'^{mark}(".*")$', text, re.MULTILINE)
    return [json.loads(line) for line in lines]
