"""The orderings that the founding document's tables show, judged on an ablation of one's own.

Each ordering is one or several statements "this is more than that"; a statement holds, or does not
hold, if the 95 % interval of the difference lies on one side of 0, and is undecided otherwise.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from repic.metrics.statistics import Verdict, joint_verdict, verdict
from repic.tables.ablation import Configuration, ablation, estimate_of
from repic.tables.columns import FOUNDING, MetricColumn, count_columns
from repic.tables.estimates import Estimate
from repic.tables.paired import Comparison, Term
from repic.tables.runs import Run
from repic.tables.table import Column, Row, Table
from repic.tables.write import ABSENT

TITLE = "Orderings of the founding tables, at 95 %"
NOTE = (
    "A statement holds (does not hold) if the interval of its difference lies above (below) 0; an"
    " ordering holds if all its statements do, and does not if one does not. Intervals are over"
    " seeds (Student's t) where there are several, else over images (paired bootstrap)."
)

SINGLE, MULTI, QUALITY = FOUNDING
REWARDS = ("recognition", "quality", "combined")


@dataclass(frozen=True)
class Statement:
    """One difference that should be above 0."""

    text: str
    estimate: Estimate | None

    @property
    def verdict(self) -> Verdict:
        e = self.estimate
        return "undecided" if e is None else verdict(e.low, e.high)


@dataclass(frozen=True)
class Ordering:
    """A claim with the statements that make it up."""

    claim: str
    statements: tuple[Statement, ...]

    @property
    def verdict(self) -> Verdict:
        return joint_verdict([statement.verdict for statement in self.statements])


def founding_orderings(runs: Sequence[Run], comparison: Comparison) -> list[Ordering]:
    """Judge every ordering of the founding tables.

    Args:
        runs: of a sweep over reward=none,recognition,quality,combined (none may be left out, since
            each run has its SFT), evaluated at 1 and 3 concepts.
        comparison: how.

    Raises:
        ValueError: a configuration is not there, or is there more than once.
    """
    rows = founding_rows(runs)
    sft, best = rows["SFT"], rows["combined"]

    def more(first: str, second: str, column: MetricColumn) -> Statement:
        sides = (f"{name} ({_value(rows[name], column)})" for name in (first, second))
        text = f"{column.label}: {' > '.join(sides)}"
        return Statement(text, comparison.difference(rows[first], rows[second], column))

    gains = [
        comparison.difference(best, sft, MULTI),
        comparison.difference(best, sft, SINGLE),
    ]
    gain_more = (
        Term(1, best, MULTI), Term(-1, sft, MULTI), Term(-1, best, SINGLE), Term(1, sft, SINGLE),
    )  # fmt: skip
    return [
        Ordering(
            "RL helps several concepts most",
            (
                Statement(
                    f"gain at 3 ({_mean(gains[0])}) > gain at 1 ({_mean(gains[1])})",
                    comparison.contrast(gain_more),
                ),
            ),
        ),
        Ordering(
            "the recognition reward does most of it", (more("recognition", "quality", MULTI),)
        ),
        Ordering(
            "the recognition reward alone costs caption quality",
            (more("SFT", "recognition", QUALITY),),
        ),
        Ordering("the quality reward keeps caption quality", (more("quality", "SFT", QUALITY),)),
        Ordering(
            "the combination is best on every column",
            tuple(
                more("combined", other, column)
                for column in FOUNDING
                for other in ("SFT", "recognition", "quality")
            ),
        ),
        *_falls(rows, runs, comparison),
    ]


def founding_rows(runs: Sequence[Run]) -> dict[str, Configuration]:
    """The rows "SFT", "recognition", "quality" and "combined" of an ablation."""
    found: dict[str, list[Configuration]] = {name: [] for name in ("SFT", *REWARDS)}
    for row in ablation(runs, columns=FOUNDING).rows:
        reward = next(iter(row.runs.values())).choices.get("reward")
        if row.phase == "sft":
            found["SFT"].append(row)
        elif row.phase == "grpo" and reward in REWARDS:
            found[str(reward)].append(row)
    for name, rows in found.items():
        what = "an SFT stage" if name == "SFT" else f"reward={name}"
        if not rows:
            raise ValueError(
                f"--orderings founding: no run has {what}; it needs a sweep over"
                " reward=none,recognition,quality,combined"
            )
        if len(rows) > 1:
            labels = "; ".join(row.label for row in rows)
            raise ValueError(
                f"--orderings founding: {len(rows)} configurations have {what}: {labels}; give it"
                " the runs of a sweep over the reward alone"
            )
    for column in FOUNDING:
        if _value(found["SFT"][0], column) == ABSENT:
            raise ValueError(
                f"--orderings founding: there is no {column.title}; evaluate with metrics.counts"
                " that have 1 and 3, on data with reference captions"
            )
    return {name: rows[0] for name, rows in found.items()}


def _falls(
    rows: Mapping[str, Configuration], runs: Sequence[Run], comparison: Comparison
) -> Iterator[Ordering]:
    """Every method falls as concepts are added, and the combination least."""
    columns = count_columns(runs, "accuracy", "acc")
    steps = []
    for name, row in rows.items():
        for fewer, more in pairwise(columns):
            terms = (Term(1, row, fewer), Term(-1, row, more))
            sides = (f"{c.label} ({_value(row, c)})" for c in (fewer, more))
            text = f"{name}: {' > '.join(sides)}"
            steps.append(Statement(text, comparison.contrast(terms)))
    yield Ordering("every method falls as concepts are added", tuple(steps))
    first, last = columns[0], columns[-1]
    best = rows["combined"]
    least = []
    for name in ("SFT", "recognition", "quality"):
        terms = (
            Term(1, rows[name], first), Term(-1, rows[name], last),
            Term(-1, best, first), Term(1, best, last),
        )  # fmt: skip
        text = f"fall from {first.count} to {last.count}: {name} > combined"
        least.append(Statement(text, comparison.contrast(terms)))
    yield Ordering("the combination falls least", tuple(least))


def orderings_table(orderings: Sequence[Ordering]) -> Table:
    """Every ordering with its verdict, and below it the statements with theirs."""
    rows = []
    for ordering in orderings:
        own = ordering.claim, ordering.verdict
        rows.append(Row(ordering.claim, ("", ordering.verdict, *own), is_heading=True))
        for statement in ordering.statements:
            # The verdict is the interval's.
            estimate = statement.estimate and replace(statement.estimate, p_value=math.nan)
            rows.append(Row(statement.text, (estimate, statement.verdict, *own)))
    columns = (
        Column("difference"),
        Column("verdict", kind="text"),
        Column("ordering", kind="text", is_for_programs=True),
        Column("ordering_verdict", kind="text", is_for_programs=True),
    )
    row_column = Column("ordering", key="statement", kind="text")
    return Table(TITLE, columns, rows, NOTE, row_column=row_column)


def _value(row: Configuration, column: MetricColumn) -> str:
    return _mean(estimate_of([run.metrics[row.phase] for run in row.runs.values()], column), "")


def _mean(estimate: Estimate | None, sign: str = "+") -> str:
    return ABSENT if estimate is None else f"{estimate.mean:{sign}.1f}"
