"""Questions about friends with options, asked of whoever answers any, beside three controls.

On Yo'LLaVA's published questions a plain LLaVA is above the systems that know the friends
(WisconsinAIVision/YoLLaVA, issue 13). So every accuracy stands beside what is right without the
picture, without the references, and with another's reference under the friend's name: what a
control gets right says nothing about knowing the friend.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import ClassVar

from repic.captioners.captioner import Answering, Caption, Captioner, Enrolling
from repic.parsing import find_choice
from repic.phases.context import Context
from repic.tables.layouts import (
    CONTROLS,
    NO_CHOICE,
    QUESTIONS,
    QUESTIONS_NOTE,
    answers_table,
)
from repic.tables.table import Table
from repic.types import Choice, Example, Reference, picture_content
from repic.values import Amount

log = logging.getLogger(__name__)

AS_IT_IS, NO_PICTURE, NO_REFERENCES, ANOTHERS = CONTROLS

Cell = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ChoiceQuestions:
    """Questions with options, and how they are asked.

    Attributes:
        questions: a sequence of ``repic.types.Choice``.
        batch_size: questions asked at a time.
    """

    questions: Sequence[Choice]
    batch_size: Amount
    name: ClassVar = "questions"

    def check(self) -> None:
        """Refuse questions for which there is a control too few."""
        for control in CONTROLS:
            controlled(self._all(), control)

    def evaluate(
        self, name: str, captioner: Answering, context: Context, known: str
    ) -> dict[str, Cell]:
        """Ask a captioner, as it is and under each control."""
        cells: dict[str, Cell] = {}
        for control, said in CONTROLS.items():
            choices = controlled(self._all(), control)
            if not choices:
                continue
            with knowing(captioner, control):
                answers = context.kept_captions(
                    [choice.example for choice in choices],
                    captioner.answer,
                    captioner.key,
                    "answers",
                    known,
                    control,
                    batch_size=self.batch_size,
                    label=f"answers of {', '.join(filter(None, [name, said]))}",
                )
            cells[control] = cell = right_choices(choices, answers)
            if cell.keys() != cells[AS_IT_IS].keys():  # of fewer kinds: no mean to compare
                del cell["mean"]
            told = "  ".join(f"{kind} {value:.1f}" for kind, value in cell.items())
            log.info("%s: %s", ", ".join(filter(None, [name, said])), told)
        return cells

    def table(
        self, found: Mapping[str, Mapping[str, Cell] | None], labels: Mapping[str, str]
    ) -> Table:
        """Rows for each who answered, controls below, and what guessing gives.

        Args:
            found: by captioner, what ``evaluate`` gave.
            labels: what captioners are called.
        """
        guessed = guessing(self._all())
        rows = [("guessing", guessed)]
        for name, cells in found.items():
            rows += [
                (", ".join(filter(None, [labels[name], CONTROLS[control]])), cell)
                for control, cell in (cells or {}).items()
            ]
        return answers_table(QUESTIONS, QUESTIONS_NOTE, guessed, rows)

    def _all(self) -> list[Choice]:
        return [self.questions[i] for i in range(len(self.questions))]


def right_choices(choices: Sequence[Choice], answers: Sequence[Caption]) -> Cell:
    """Percentages by kind of question, in the order in which kinds first come.

    Returns:
        Of each kind what is right, "mean" of the kinds, and "no choice", the share of answers that
        choose none of the options, or several.
    """
    said = [
        find_choice(answer.text, choice.options)
        for choice, answer in zip(choices, answers, strict=True)
    ]
    right = [float(place == c.answer) for place, c in zip(said, choices, strict=True)]
    return _cell(choices, right, said.count(None) / len(said))


def guessing(choices: Sequence[Choice]) -> Cell:
    """What choosing an option at random gives."""
    return _cell(choices, [1 / len(choice.options) for choice in choices], 0.0)


def _cell(choices: Sequence[Choice], right: Sequence[float], no_choice: float) -> Cell:
    kinds: dict[str, list[float]] = {}
    for choice, share in zip(choices, right, strict=True):
        kinds.setdefault(choice.example.task.partition("/")[2], []).append(100.0 * share)
    by_kind = {kind: fmean(shares) for kind, shares in kinds.items()}
    return {**by_kind, "mean": fmean(by_kind.values()), NO_CHOICE: 100.0 * no_choice}


def controlled(choices: Sequence[Choice], control: str) -> list[Choice]:
    """The questions under a control; without a picture only those that have one.

    Raises:
        ValueError: there is nobody else whose reference a friend could have.
    """
    if control == NO_PICTURE:
        shown = [choice for choice in choices if choice.example.query is not None]
        return [_with(choice, query=None) for choice in shown]
    if control == NO_REFERENCES:
        return [_with(choice, references=()) for choice in choices]
    if control == ANOTHERS:
        examples = [choice.example for choice in choices]
        exchanged = with_anothers(examples)
        return [
            _with(choice, references=some) for choice, some in zip(choices, exchanged, strict=True)
        ]
    return list(choices)


def _with(choice: Choice, **changes: object) -> Choice:
    return replace(choice, example=replace(choice.example, **changes))


def with_anothers(examples: Sequence[Example]) -> list[tuple[Reference, ...]]:
    """References that keep their names, and have what the next others in the list have.

    Whoever gives is not in the prompt, is introduced in the same way (by picture, info or both),
    and is another one for each.
    """
    everyone = [reference for example in examples for reference in example.references]
    exchanged, start = [], 0
    for example in examples:
        start += len(example.references)
        later = [*everyone[start:], *everyone[:start]]
        taken, given = {*example.pool}, []
        for reference in example.references:
            other = next((o for o in later if o.name not in taken and _alike(o, reference)), None)
            if other is None:
                raise ValueError(
                    f"data.ask.questions: {example.id}: nobody else is introduced as"
                    f" {reference.name} is, so nobody's reference can stand there as a control;"
                    " ask about more friends"
                )
            taken.add(other.name)
            given.append(replace(reference, info=other.info, image=other.image))
        exchanged.append(tuple(given))
    return exchanged


def _alike(other: Reference, own: Reference) -> bool:
    """Whether two are introduced in the same way, and not by the same things."""
    kinds = [(r.info is None, r.image is None) for r in (other, own)]
    return kinds[0] == kinds[1] and _told(other) != _told(own)


def _told(reference: Reference) -> tuple[str | None, str | None]:
    return reference.info, (None if reference.image is None else picture_content(reference.image))


@contextlib.contextmanager
def knowing(captioner: Captioner, control: str) -> Iterator[None]:
    """Let one who learns friends know nobody, or each friend as another, for a control."""
    if not isinstance(captioner, Enrolling) or control not in (NO_REFERENCES, ANOTHERS):
        yield
        return
    friends, learnt = dict(captioner.friends), dict(captioner.learnt)
    names = list(friends)
    half = math.ceil(len(names) / 2)
    others = dict(zip(names, [*names[half:], *names[:half]], strict=True))
    shown = others if control == ANOTHERS else {}
    captioner.meet(
        [replace(friends[other], name=name) for name, other in shown.items()],
        {name: learnt[other] for name, other in shown.items() if other in learnt},
    )
    try:
        yield
    finally:
        captioner.meet(list(friends.values()), learnt)
