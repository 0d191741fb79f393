"""CaptionQA: can somebody who has read the caption alone answer questions about the picture?

CaptionQA, https://arxiv.org/abs/2511.21025: a language model that does not see the picture chooses
an option. It gets 1 for the right one, 0 for a wrong one, and 1/K + 0.05 of K options for "Cannot
answer from the caption", which is added to all questions but those of yes and no: to say nothing
is a little better than to guess. So an empty caption has no 0. Options are shuffled, always the
same way. The score is the mean over all questions.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from repic.judges.questions import choose_options
from repic.metrics.captions.grammar_facts import GrammarSource, Parser
from repic.metrics.captions.judging import (
    PERCENT,
    WHO_JUDGES,
    JudgedMetric,
    ModelSource,
    Outcome,
    Source,
    require_answers,
)
from repic.metrics.captions.metric import Captions
from repic.metrics.captions.quiz import Quiz, answer_by_grammar, read_quizzes
from repic.metrics.column import JUDGES, ScoreColumn
from repic.values import Count, Text

CANNOT = "Cannot answer from the caption"
BONUS = 0.05  # of "cannot" over a guess


@dataclass(frozen=True)
class Asked:
    """A question to the reader of a caption; ``options`` are shuffled, and may hold ``CANNOT``."""

    caption: str
    quiz: Quiz
    options: tuple[str, ...]


@runtime_checkable
class Reader(Source, Protocol):
    """Somebody who reads captions."""

    def answers(self, asked: Sequence[Asked]) -> Sequence[str | None]:
        """Choose an option for each question; None if there was no answer."""
        ...


class CaptionQA(JudgedMetric[Reader]):
    """Column ``caption_qa``, in percent.

    Args:
        questions: a file of questions, see ``quiz``; None makes them from the references.
        quizzes: makes questions from references.
        most: questions a picture, chosen by chance but always the same; None for all.
        source: which of the readers.
        sources: readers by name.
    """

    def __init__(
        self,
        *,
        questions: Text | None,
        quizzes: Callable[[Sequence[str]], Sequence[Quiz]],
        most: Count | None,
        source: Text,
        sources: Mapping[str, Reader],
    ) -> None:
        key = "metrics.scorers.caption_qa"
        notes = ("QA: CaptionQA, what can be answered from the caption, in %.", WHO_JUDGES)
        column = ScoreColumn("caption_qa", "QA", "up", JUDGES, notes)
        super().__init__(column, key=key, source=source, sources=sources)
        self.questions, self.quizzes, self.most = questions, quizzes, most

    def missing(self) -> str | None:
        if self.questions is None:
            return self.source.missing()
        if not self.source.may_fail:
            return "a file's questions need a model: metrics.scorers.caption_qa.source=judge"
        assert self._file is not None  # read now: a bad row shall not be found after training
        return self.source.missing()

    def outcomes(self, captions: Captions) -> list[Outcome | None]:
        groups = [
            [Asked(text, quiz, shuffled_options(quiz)) for quiz in self._chosen(quizzes)]
            for text, quizzes in zip(captions.texts, self._quizzes(captions), strict=True)
        ]
        answers = iter(self.source.answers([asked for group in groups for asked in group]))
        return [_outcome([(asked.quiz, next(answers)) for asked in group]) for group in groups]

    def _quizzes(self, captions: Captions) -> list[Sequence[Quiz]]:
        if self._file is None:
            return [self.quizzes(references) for references in captions.references]
        keys = captions.keys or []
        return [self._file.get(key.image, ()) for key in keys] or [()] * len(captions.texts)

    def _chosen(self, quizzes: Sequence[Quiz]) -> Sequence[Quiz]:
        if self.most is None or len(quizzes) <= self.most:
            return quizzes
        return random.Random(quizzes[0].question).sample(list(quizzes), self.most)

    @cached_property
    def _file(self) -> Mapping[str, Sequence[Quiz]] | None:
        return None if self.questions is None else read_quizzes(Path(self.questions))


def _outcome(answers: Sequence[tuple[Quiz, str | None]]) -> Outcome | None:
    if not answers:
        return None
    scores = [question_score(quiz, answer) for quiz, answer in answers if answer is not None]
    failed = 1 - len(scores) / len(answers)
    if not scores:
        return Outcome(None, failed)
    return Outcome((PERCENT * sum(scores) / len(scores),), failed, weight=len(scores))


def question_score(quiz: Quiz, answer: str) -> float:
    """What an answer is worth, in [0, 1].

    >>> quiz = Quiz("What sits there?", ("a bear", "a cat", "a dog", "a pig"), 0)
    >>> [question_score(quiz, answer) for answer in ("a bear", "a cat", CANNOT)]
    [1.0, 0.0, 0.3]
    """
    if answer == CANNOT:
        return 1 / len(quiz.choices) + BONUS
    return float(answer == quiz.choices[quiz.answer])


def shuffled_options(quiz: Quiz) -> tuple[str, ...]:
    """The choices, and ``CANNOT`` unless they are yes and no, in an order that never changes."""
    options = [*quiz.choices, *([] if quiz.is_yes_no else [CANNOT])]
    random.Random(f"{quiz.question}/{quiz.choices}").shuffle(options)
    return tuple(options)


class GrammarReader(GrammarSource):
    """A ``Reader`` for questions from scenes and captions that a grammar reads: exact."""

    def __init__(self, *, parser: Parser) -> None:
        super().__init__(parser=parser, unread=lambda text: ())  # remarks answer nothing

    def answers(self, asked: Sequence[Asked]) -> list[str | None]:
        places = [answer_by_grammar(one.quiz, self.parser(one.caption)) for one in asked]
        return [
            CANNOT if place is None else one.quiz.choices[place]
            for one, place in zip(asked, places, strict=True)
        ]


class JudgedReader(ModelSource):
    """A ``Reader`` that is a model; it is never shown the picture."""

    needs = "a question about its picture"

    def answers(self, asked: Sequence[Asked]) -> list[str | None]:
        # A blank caption answers nothing; yes or no the reader has to choose all the same.
        is_told = [not one.caption.strip() and CANNOT in one.options for one in asked]
        others = [one for one, told in zip(asked, is_told, strict=True) if not told]
        places = choose_options(
            self.asked, [(one.caption, one.quiz.question, one.options) for one in others]
        )
        require_answers(places)
        chosen = (
            None if place is None else one.options[place]
            for one, place in zip(others, places, strict=True)
        )
        return [CANNOT if told else next(chosen) for told in is_told]
