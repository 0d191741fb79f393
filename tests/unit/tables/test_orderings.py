import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from repic.tables.orderings import NOTE, founding_orderings, orderings_table
from repic.tables.paired import Comparison
from repic.tables.runs import Run
from repic.tables.write import csv_text, markdown
from tests.unit.tables.saved import RUN
from tests.unit.tables.test_write import shown

# The founding document's ablation, and its orderings: single, at 3, CIDEr.
TOLD = {
    "SFT": (72.3, 42.3, 81.2),
    "recognition": (79.5, 60.2, 79.8),
    "quality": (74.1, 45.8, 84.5),
    "combined": (82.1, 65.8, 85.5),
}
CLAIMS = [
    "RL helps several concepts most",
    "the recognition reward does most of it",
    "the recognition reward alone costs caption quality",
    "the quality reward keeps caption quality",
    "the combination is best on every column",
    "every method falls as concepts are added",
    "the combination falls least",
]


def cells(values: tuple[float, float, float], shift: float) -> dict:
    one, three, cider = (value + shift for value in values)
    return {"1": {"accuracy": one}, "3": {"accuracy": three}, "all": {"cider": cider}}


def sweep(told: dict = TOLD, seeds: int = 3, spread: float = 0.2, **choices: str) -> list[Run]:
    """Runs whose seeds differ a little, and in each run all values together."""
    return [
        replace(
            RUN,
            folder=Path(f"x/{reward}/{seed}"),
            seed=seed,
            choices={"reward": reward, **choices},
            metrics={
                "sft": cells(told["SFT"], seed * spread),
                "grpo": cells(told[reward], seed * spread * (1 + 0.01 * len(reward))),
            },
        )
        for reward in told
        if reward != "SFT"
        for seed in range(seeds)
    ]


def judge(runs: list[Run]) -> dict[str, str]:
    found = founding_orderings(runs, Comparison(num_samples=10, seed=0))
    return {ordering.claim: ordering.verdict for ordering in found}


def test_all_hold_in_the_founding_document() -> None:
    assert judge(sweep()) == dict.fromkeys(CLAIMS, "holds")


@pytest.mark.parametrize(
    ("row", "values", "claims"),
    [
        # Which orderings stop holding when one row is another; by hand, from TOLD.
        ("combined", (112.1, 65.8, 85.5), {0, 6}),  # +39.8 at 1, +23.5 at 3
        ("recognition", (79.5, 45.0, 79.8), {1}),  # below quality's 45.8
        ("recognition", (79.5, 60.2, 82.0), {2}),  # above SFT's 81.2
        ("quality", (74.1, 45.8, 80.0), {3}),  # below SFT's
        ("quality", (74.1, 45.8, 86.5), {4}),  # best in CIDEr
        ("quality", (45.0, 45.8, 84.5), {5, 6}),  # rises from 1 to 3, so it falls least
    ],
)
def test_each_ordering_is_about_its_own_numbers(
    row: str, values: tuple[float, float, float], claims: set[int]
) -> None:
    found = judge(sweep({**TOLD, row: values}))
    assert {CLAIMS.index(c) for c, verdict in found.items() if verdict == "does not hold"} == claims
    assert "undecided" not in found.values()


def test_equal_methods_are_undecided() -> None:
    found = judge(sweep({**TOLD, "quality": TOLD["SFT"]}))
    assert found[CLAIMS[3]] == "undecided"


def test_every_statement_has_its_numbers() -> None:
    found = founding_orderings(sweep(), Comparison(num_samples=10, seed=0))
    (gain,) = found[0].statements
    assert gain.text == "gain at 3 (+23.5) > gain at 1 (+9.8)"
    assert gain.estimate.mean == pytest.approx(13.7, abs=0.1)
    assert len(found[4].statements) == 9
    table = orderings_table(found)
    text = markdown(table)
    assert "| **RL helps several concepts most** |  | **holds** |" in text
    assert "| multi concept (3): recognition (60.4) > quality (46.0) | +14.4 [" in text
    assert "p =" not in text  # the verdict is the interval's
    assert NOTE in text
    lines = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert len(lines) == sum(len(ordering.statements) for ordering in found)
    assert {line["verdict"] for line in lines} == {"holds"}
    assert [line["ordering"] for line in lines[:2]] == CLAIMS[:2]
    # In 80 characters no verdict is cut off: one of each ordering and each statement.
    ends = [line.rstrip().endswith(" holds") for line in shown(table).splitlines()]
    assert sum(ends) == len(CLAIMS) + len(lines)


def test_what_is_missing_is_named() -> None:
    runs = sweep()
    with pytest.raises(ValueError, match="no run has reward=combined; it needs a sweep"):
        judge([run for run in runs if run.choices["reward"] != "combined"])
    two = [*runs, *sweep({**TOLD, "combined": (70.0, 60.0, 80.0)}, kl="high")]
    with pytest.raises(ValueError, match="2 configurations have reward=recognition: "):
        judge(two)
    for run in runs:
        del run.metrics["sft"]["3"]
    with pytest.raises(ValueError, match="there is no recognition accuracy % at 3 concepts"):
        judge(runs)
