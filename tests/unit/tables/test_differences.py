from pathlib import Path

import pytest

from repic.tables.ablation import Ablation, Configuration, ablation
from repic.tables.columns import MetricColumn
from repic.tables.differences import base_of, differences
from tests.unit.tables.saved import BETTER, WORSE, compare, run_of

ACC = MetricColumn("acc@1", "", "accuracy", "1")


def rows(*labels: tuple[str, str]) -> Ablation:
    found = tuple(Configuration(label, (), (1,), block) for label, block in labels)
    return Ablation("t", (), found)


def test_a_row_is_compared_within_its_block() -> None:
    table = rows(("base (r=a)", "r=a"), ("sft (r=a)", "r=a"), ("base (r=b)", "r=b"), ("x", "c"))
    found = [base_of(row, table, "base").label for row in table.rows[:3]]
    assert found == ["base (r=a)", "base (r=a)", "base (r=b)"]
    # Where a block has none, the row must be the only one of all.
    with pytest.raises(ValueError, match=r"'base' is in 2 rows: base \(r=a\); base \(r=b\)"):
        base_of(table.rows[3], table, "base")
    assert base_of(table.rows[3], table, "base (r=b)") is table.rows[2]


def test_a_label_in_full_goes_before_parts() -> None:
    table = rows(("+ RL", ""), ("+ RL (kl=low)", ""))
    assert base_of(table.rows[1], table, "+ RL") is table.rows[0]
    with pytest.raises(ValueError, match=r"no row is called 'SFT'; there are: \+ RL; \+ RL \(kl"):
        base_of(table.rows[0], table, "SFT")


def test_differences_have_no_best_and_keep_their_blocks(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ("base", WORSE), ("sft", WORSE), ("grpo", BETTER))
    table = differences(ablation([run], [ACC]), "SFT", compare())
    assert [row.label for row in table.rows] == ["base model", "+ RL"]
    assert not any(table.is_best(row, table.columns[0]) for row in table.rows)
    assert "difference from SFT only" in table.title
    assert table.rows[1].cells[0].mean == 75
