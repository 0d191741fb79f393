"""Yes-or-no questions about a picture, asked of whoever answers any, and how many are right."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from repic.captioners.captioner import Answering, Caption
from repic.parsing import parse_yes_no
from repic.phases.context import Context
from repic.tables.layouts import RECOGNITION, RECOGNITION_NOTE, answers_table
from repic.tables.table import Table
from repic.types import Example, Examples
from repic.values import Amount

log = logging.getLogger(__name__)

YES, NO = "yes", "no"


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """Questions and how their answers count.

    Attributes:
        questions: a dataset whose targets are "yes" and "no", and tasks say after a slash what a
            picture shows.
        batch_size: questions asked at a time.
        drop_others: leave answers without yes or no out, where they would count as wrong.
    """

    questions: Examples
    batch_size: Amount
    drop_others: bool
    name: ClassVar = "recognition"

    def check(self) -> None:
        """Nothing can be wrong with them."""

    def evaluate(
        self, name: str, captioner: Answering, context: Context, known: str
    ) -> dict[str, float]:
        """Ask a captioner."""
        examples = [self.questions[i] for i in range(len(self.questions))]
        answers = context.kept_captions(
            examples,
            captioner.answer,
            captioner.key,
            "answers",
            known,
            batch_size=self.batch_size,
            label=f"answers of {name}",
        )
        cell = accuracies(examples, answers, drop_others=self.drop_others)
        log.info("%s: %s", name, "  ".join(f"{kind} {value:.1f}" for kind, value in cell.items()))
        return cell

    def table(
        self, found: Mapping[str, Mapping[str, float] | None], labels: Mapping[str, str]
    ) -> Table:
        """A row for each who answered.

        Args:
            found: by captioner, what ``evaluate`` gave.
            labels: what captioners are called.
        """
        answered = {name: cell for name, cell in found.items() if cell is not None}
        kinds = dict.fromkeys(kind for cell in answered.values() for kind in cell)
        rows = [(labels[name], cell) for name, cell in answered.items()]
        return answers_table(RECOGNITION, RECOGNITION_NOTE, kinds, rows)


def accuracies(
    examples: Sequence[Example], answers: Sequence[Caption], *, drop_others: bool
) -> dict[str, float]:
    """Percentages by kind of question, in the order in which kinds first come.

    Returns:
        Accuracy by kind; "weighted", the mean of the accuracy of questions whose answer is yes and
        of those whose answer is no; and "neither", the share of answers that say neither. NaN where
        there is nothing to count.
    """
    kinds: dict[str, list[float]] = {}
    targets: dict[str, list[float]] = {YES: [], NO: []}
    said = [parse_yes_no(answer.text) for answer in answers]
    for example, answer in zip(examples, said, strict=True):
        kind = example.task.partition("/")[2] or example.task
        kinds.setdefault(kind, [])
        if answer is not None or not drop_others:
            is_right = 100.0 * (answer == example.target)
            kinds[kind].append(is_right)
            targets[example.target].append(is_right)
    by_target = [_mean(targets[target]) for target in (YES, NO)]
    return {
        **{kind: _mean(found) for kind, found in kinds.items()},
        "weighted": sum(by_target) / len(by_target),
        "neither": 100.0 * said.count(None) / len(said),
    }


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan
