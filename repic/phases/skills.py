"""What a base model can do of what it has practised, each task by itself and by number of toys."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from repic import distributed
from repic.captioners.model import sample_captions
from repic.models.engine.sampling import Sampling
from repic.phases.context import Context, TrainedModel
from repic.phases.phase import Phase
from repic.tables.table import Column, Row, Table
from repic.tables.write import show_table
from repic.types import Example, Examples
from repic.values import Amount, AmountOrNone

log = logging.getLogger(__name__)

NOTE = (
    "Toys and names of the validation split, greedy answers; % right. exact: the whole answer, or"
    " one of the captions of a scene; box: IoU of 0.5 or more; name: of the toys that are described"
    " rightly, those with the right name, or with none if that is right; yes and no: the questions"
    " of which that is the answer. 1 to 7: toys in the scene, or else introduced."
)
TOYS = range(1, 8)
COLUMNS = (
    Column("cases", kind="number", digits=0),
    *(Column(label, kind="number") for label in ("all", *map(str, TOYS))),
)


@dataclass(frozen=True, kw_only=True)
class SkillsPhase(Phase):
    """Ask a model for every task of its practice; the model stays as it is.

    Attributes:
        dataset: called with ``split``, ``size``, ``seed`` and ``stages``; see ``Curriculum``.
        examples: how many of each task; 0 leaves it out.
        count: gives the number of toys of an example.
        grade: see ``PracticePhase``.
        batch_size: examples at a time, on each rank.
        sampling: how it answers; greedily, as a rule.
    """

    name = "skills"
    label = "model"
    short = "model"

    dataset: Callable[..., Examples]
    examples: Mapping[str, AmountOrNone]
    count: Callable[[Example], int]
    grade: Callable[[Example, str], Mapping[str, float]]
    batch_size: Amount
    sampling: Sampling

    def check(self, context: Context) -> None:
        for task in self.examples:
            self.ask(task, 1)

    def ask(self, task: str, size: int) -> list[Example]:
        """Examples of a task, with toys and names of the validation split."""
        stages = [{"until": 1.0, "groups": [{task: 1.0}]}]
        dataset = self.dataset(split="val", size=size, seed=0, stages=stages)
        return [dataset[i] for i in range(len(dataset))]

    def run(self, context: Context, start: TrainedModel) -> TrainedModel:
        policy = context.load_policy(path=start.checkpoint).to(context.device)
        policy.eval()
        rows = []
        for task, size in self.examples.items():
            if not (examples := self.ask(task, size)):
                continue
            answers = sample_captions(
                policy,
                context.engine,
                examples,
                batch_size=self.batch_size,
                sampling=self.sampling,
            )
            grades = [self.grade(e, a.text) for e, a in zip(examples, answers, strict=True)]
            counts = [self.count(example) for example in examples]
            rows += skill_rows(task, grades, counts)
            log.info("%s: %d answers", task, len(examples))
        if distributed.rank() == 0:
            table = Table("Skills", COLUMNS, rows, NOTE, Column("skill", kind="text"))
            show_table(context.folder, "skills", table)
        return start


def skill_rows(
    task: str, grades: Sequence[Mapping[str, float]], counts: Sequence[int]
) -> Iterator[Row]:
    """A row for each part of a task's answers: how many were graded, and the share that is right.

    Args:
        grades: of each answer, shares in [0, 1] by part.
        counts: the number of toys of each.
    """
    for part in dict.fromkeys(part for grade in grades for part in grade):
        shares: dict[int | None, list[float]] = defaultdict(list)
        for grade, count in zip(grades, counts, strict=True):
            if part in grade:
                for key in (None, count):
                    shares[key].append(100 * grade[part])
        cells = [fmean(shares[key]) if key in shares else None for key in (None, *TOYS)]
        yield Row(f"{task}: {part}", (len(shares[None]), *cells))
