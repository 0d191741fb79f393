from dataclasses import replace
from pathlib import Path

from repic.page.run_page import run_tables
from repic.tables.caption_tables import GROUPS, caption_tables, grouped
from repic.tables.runs import Run
from tests.unit.tables.test_write import shown

EVERY = [name for _, columns, _ in GROUPS for name in columns]
NAMES = {"accuracy": 50.0, "cider": 640.0, "overall": 345.0, "num_examples": 4.0}


def run(**cell: float) -> Run:
    found = {**NAMES, **cell, **{f"{k}_ci": (v - 12.3, v + 12.3) for k, v in cell.items()}}
    by_count = {"1": found, "all": found}
    return Run(Path("x"), "x", 0, (), {}, None, 1.0, (), {"sft": by_count, "grpo": by_count})


def test_without_caption_metrics_there_is_no_further_table() -> None:
    assert caption_tables([run()]) == []
    assert len(run_tables(run())) == 2


def test_every_metric_has_one_column_and_80_characters_are_enough() -> None:
    found = run(**{name: 640.0 if "cider" in name else 64.0 for name in EVERY})
    tables = caption_tables([found])
    assert [c.metric for table in tables for c in table.columns] == EVERY
    assert [len(table.columns) for table in tables] == [7, 5, 4, 6, 4, 7]
    assert run_tables(found)[2:] == tables
    for table in tables:
        text = shown(table)
        for column in table.columns:
            assert column.label in text
        assert "[52–76]" in text


def test_only_what_there_is_is_shown_and_ones_own_comes_last() -> None:
    tables = caption_tables([run(bleu_4=12.0, charm=3.0, copy_bleu_2=1.0)])
    assert [[c.label for c in table.columns] for table in tables] == [["CIDEr", "B-4"], ["charm"]]
    assert [title for title, _, _ in grouped(["words"])] == ["by themselves"]


def test_low_self_bleu_is_not_marked_as_worst_and_high_bleu_is_best() -> None:
    first = run(bleu_4=12.0, self_bleu=60.0)
    better = {"all": {**NAMES, "bleu_4": 14.0, "self_bleu": 30.0}}
    both = replace(first, metrics={**first.metrics, "grpo": better})
    references, themselves = caption_tables([both])
    bleu = next(column for column in references.columns if column.metric == "bleu_4")
    assert [references.is_best(row, bleu) for row in references.rows] == [False, True]
    assert not any(themselves.is_best(row, themselves.columns[0]) for row in themselves.rows)
    assert "Bold" in references.note
    assert "Bold" not in themselves.note


def test_what_was_left_out_is_said_once() -> None:
    found = replace(run(bleu_4=1.0, words=4.0), left_out={"meteor": "it needs Java"})
    notes = [table.note for table in caption_tables([found])]
    assert [note.count("Left out: meteor (it needs Java).") for note in notes] == [1, 0]
