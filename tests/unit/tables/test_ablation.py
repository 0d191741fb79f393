import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from repic.settings import configured, varying_keys
from repic.tables.ablation import Ablation, ablation
from repic.tables.columns import FOUNDING, accuracy_columns, count_columns
from repic.tables.runs import Run
from tests.unit.tables.saved import RUN


def cell(accuracy: float, cider: float = 80.0) -> dict:
    accuracy = float(accuracy)
    return {
        "accuracy": accuracy,
        "accuracy_ci": (accuracy - 4, accuracy + 3),
        "cider": cider,
        "num_examples": 500.0,
    }


def make_run(
    seed: int,
    *,
    reward: str = "combined",
    overrides: tuple[str, ...] = (),
    choices: dict[str, str] | None = None,
    **phases: float,
) -> Run:
    """Accuracies at three concepts by phase; at one concept they are ten higher."""
    return replace(
        RUN,
        folder=Path(f"outputs/{reward}/seed_{seed}"),
        seed=seed,
        overrides=(f"seed={seed}", f"reward={reward}", *overrides),
        choices={"reward": reward, "model": "tiny", **(choices or {})},
        metrics={
            phase: {"1": cell(a + 10), "3": cell(a), "all": cell(a + 5, 80 + a / 10)}
            for phase, a in phases.items()
        },
    )


def table_of(runs: list[Run]) -> Ablation:
    return ablation(runs, accuracy_columns(runs))


SWEEP = [
    make_run(0, reward="combined", base=5, sft=40, grpo=64),
    make_run(1, reward="combined", base=5, sft=42, grpo=66),
    make_run(2, reward="combined", base=5, sft=44, grpo=68),
    make_run(0, reward="recognition", base=5, sft=40, grpo=60),
    make_run(1, reward="recognition", base=5, sft=42, grpo=62),
    make_run(2, reward="recognition", base=5, sft=44, grpo=61),
    make_run(0, reward="none", base=5, sft=40),
]


def test_founding_ablation_worked_by_hand() -> None:
    table = ablation(SWEEP, FOUNDING)
    assert [row.label for row in table.rows] == [
        "base model",
        "SFT only",
        "+ RL (reward=recognition)",
        "+ RL (reward=combined)",
    ]
    # What does not depend on the seed is one result, with the interval over scenes.
    assert [row.num_seeds for row in table.rows] == [1, 3, 3, 3]
    single, multi, quality = table.rows[0].cells
    assert (multi.mean, multi.low, multi.high, multi.num_seeds) == (5, 1, 8, 1)
    assert quality.mean == 80.5
    assert not quality.has_interval
    single, multi, quality = table.rows[3].cells
    assert (single.mean, multi.mean, quality.mean) == (76, 66, pytest.approx(86.6))
    assert multi.high - 66 == pytest.approx(4.9683, abs=1e-4)  # t(2) · 2 / sqrt(3)
    assert multi.num_seeds == 3
    assert [table.is_best(row, table.columns[1]) for row in table.rows] == [
        False,
        False,
        False,
        True,
    ]


def test_columns_follow_from_what_was_evaluated() -> None:
    assert [c.label for c in accuracy_columns(SWEEP)] == ["acc@1", "acc@3", "CIDEr"]
    columns = count_columns(SWEEP, "cider", "CIDEr")
    assert [(c.label, c.metric, c.count) for c in columns] == [
        ("CIDEr@1", "cider", "1"),
        ("CIDEr@3", "cider", "3"),
    ]
    assert [c.title for c in columns] == ["cider at 1 concept", "cider at 3 concepts"]


def test_one_run_is_labelled_without_its_configuration() -> None:
    table = table_of(SWEEP[:1])
    assert [row.label for row in table.rows] == ["base model", "SFT only", "+ RL"]
    assert "bootstrap" in table.note
    assert "Student" not in table.note


def test_the_order_of_runs_does_not_matter() -> None:
    assert ablation(SWEEP[::-1], FOUNDING).rows == ablation(SWEEP, FOUNDING).rows


def test_overrides_that_are_no_choice_make_rows_and_immaterial_ones_do_not() -> None:
    runs = [
        make_run(0, overrides=("kl.kl_coef=0.1", "logger=wandb", "+experiment=a"), sft=40, grpo=64),
        make_run(0, overrides=("kl.kl_coef=0.04", "outputs=b", "+experiment=a"), sft=40, grpo=60),
        make_run(0, overrides=("+experiment=a",), sft=40, grpo=50),
    ]
    assert varying_keys(runs) == ("kl.kl_coef",)
    assert [(row.label, row.cells[1].mean) for row in table_of(runs).rows] == [
        ("SFT only", 40),
        ("+ RL", 50),
        ("+ RL (kl.kl_coef=0.04)", 60),
        ("+ RL (kl.kl_coef=0.1)", 64),
    ]


def test_seeds_that_were_computed_elsewhere_are_of_the_same_row() -> None:
    runs = [make_run(0, sft=40, grpo=60)]
    for seed, trainer in ((1, "ddp"), (2, "fsdp")):
        choices = {"trainer": trainer}
        told = (f"trainer={trainer}", "trainer.options.accelerator=cpu")
        runs.append(make_run(seed, overrides=told, choices=choices, sft=40, grpo=60 + seed))
    rows = table_of(runs).rows
    assert [(row.label, row.num_seeds) for row in rows] == [("SFT only", 1), ("+ RL", 3)]


def test_what_one_command_says_and_another_leaves_as_it_is_makes_one_row(tmp_path: Path) -> None:
    """A weight of 1 is the default: the run without the override has it as well."""
    runs = []
    for seed, told, weight in ((0, (), 1.0), (1, ("w.names=1",), 1.0), (0, ("w.names=2",), 2.0)):
        folder = tmp_path / f"{len(runs)}"
        folder.mkdir()
        values = {"w": {"names": weight, "all": {"a": 1}}, "counts": [1, 3], "none": None}
        (folder / "config.yaml").write_text(yaml.safe_dump(values))
        runs.append(replace(make_run(seed, overrides=told, sft=40, grpo=60), folder=folder))
    assert varying_keys(runs) == ("w.names",)
    assert [(row.label, row.num_seeds) for row in table_of(runs).rows] == [
        ("SFT only", 1),
        ("+ RL (w.names=1.0)", 2),
        ("+ RL (w.names=2.0)", 1),
    ]
    keys = ["counts", "none", "w.all", "w.nothing", "w.names.deeper"]
    assert configured(runs[0].folder, keys) == {"counts": "[1,3]", "none": "null"}


def test_a_shared_phase_is_split_only_by_what_it_depends_on() -> None:
    runs = [
        make_run(seed, reward=r, choices={"model": m}, base=b, sft=b + 30 + seed, grpo=b + 40)
        for m, b in (("tiny", 5), ("smol", 9))
        for r in ("quality", "combined")
        for seed in (0, 1)
    ]
    assert [(row.label, row.num_seeds) for row in table_of(runs).rows] == [
        ("base model (model=smol)", 1),
        ("base model (model=tiny)", 1),
        ("SFT only (model=smol)", 2),
        ("SFT only (model=tiny)", 2),
        ("+ RL (reward=quality, model=smol)", 2),
        ("+ RL (reward=quality, model=tiny)", 2),
        ("+ RL (reward=combined, model=smol)", 2),
        ("+ RL (reward=combined, model=tiny)", 2),
    ]


def test_equal_results_of_rl_are_not_taken_for_one() -> None:
    runs = [make_run(seed, reward=r, grpo=50) for seed in (0, 1) for r in ("quality", "combined")]
    rows = table_of(runs).rows
    assert [row.num_seeds for row in rows] == [2, 2]
    assert rows[0].cells[0].half_width == 0


def test_equals_are_both_best_to_the_digit_that_is_shown() -> None:
    runs = [
        make_run(0, reward=r, grpo=a)
        for r, a in (("quality", 60.02), ("combined", 59.99), ("other", 59.9))
    ]
    table = table_of(runs)
    assert [table.is_best(row, table.columns[1]) for row in table.rows] == [True, True, False]
    # Where all are equal, none is better than another.
    table = table_of(runs[:2])
    assert [table.is_best(row, table.columns[1]) for row in table.rows] == [False, False]


def test_a_run_again_is_no_further_seed_and_a_contradiction_is_an_error() -> None:
    again = [*SWEEP, SWEEP[0]]
    assert table_of(again).rows == table_of(SWEEP).rows
    with pytest.raises(ValueError, match="'grpo' results differ"):
        ablation([*SWEEP, make_run(0, reward="combined", base=5, sft=40, grpo=65)])


def test_missing_and_undefined_values_are_absent() -> None:
    runs = [make_run(0, reward="quality", grpo=50), make_run(0, reward="combined", grpo=60)]
    del runs[0].metrics["grpo"]["3"]
    runs[1].metrics["grpo"]["all"]["cider"] = math.nan
    quality, combined = ablation(runs, FOUNDING).rows
    assert quality.cells[1] is None
    assert combined.cells[2] is None
    assert combined.cells[1].mean == 60


def test_a_seed_without_a_value_does_not_count() -> None:
    runs = [make_run(seed, grpo=60 + seed) for seed in range(3)]
    runs[2].metrics["grpo"]["3"]["accuracy"] = math.nan
    table = ablation(runs, FOUNDING)
    (row,) = table.rows
    assert row.cells[1].mean == 60.5
    assert row.cells[1].num_seeds == 2
    # The row says 3 seeds.
    said = "Seeds that have a value, where not all have: multi concept (3) of + RL: 2 of 3."
    assert table.note.startswith(said)
    assert "where not all have" not in ablation(runs[:2], FOUNDING).note


def test_runs_of_different_versions_of_the_code_are_told() -> None:
    runs = [make_run(seed, grpo=50 + seed) for seed in range(3)]
    assert "versions" not in ablation(runs, FOUNDING).note
    old, new = "a" * 40, "b" * 40 + "-dirty"
    mixed = [replace(r, git_commit=c) for r, c in zip(runs, (old, new, old), strict=True)]
    said = f"Runs of different versions of the code: {'a' * 10} (2 runs), {'b' * 10}-dirty (1 run)."
    assert said in ablation(mixed, FOUNDING).note


def test_no_runs_no_table() -> None:
    with pytest.raises(ValueError, match="at least one finished run"):
        ablation([])


def test_of_one_row_none_is_best() -> None:
    table = table_of([make_run(0, grpo=60)])
    assert [row.label for row in table.rows] == ["+ RL"]
    assert not table.is_best(table.rows[0], table.columns[0])
