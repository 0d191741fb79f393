import io
from dataclasses import replace
from pathlib import Path

import rich.console

from repic.metrics.statistics import Score
from repic.page.run_page import run_tables
from repic.tables import write as render
from repic.tables.caption_tables import GROUPS, caption_tables, grouped
from repic.tables.rescoring_table import Rescored, csv_text, json_text, markdown
from repic.tables.rescoring_table import caption_tables as rescored_tables
from repic.tables.runs import Run

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
        console = rich.console.Console(width=80, record=True, file=io.StringIO())
        console.print(render.terminal(table))
        text = console.export_text()
        for column in table.columns:
            assert column.label in text
        assert "[52–76]" in text
        assert max(map(len, text.splitlines())) <= 80


def test_only_what_there_is_is_shown_and_ones_own_comes_last() -> None:
    tables = caption_tables([run(bleu_4=12.0, charm=3.0, copy_bleu_2=1.0)])
    assert [[c.label for c in table.columns] for table in tables] == [["CIDEr", "B-4"], ["charm"]]
    assert [title for title, _, _ in grouped(["words"])] == ["by themselves"]


def test_low_self_bleu_is_not_marked_as_worst_and_high_bleu_is_best() -> None:
    first = run(bleu_4=12.0, self_bleu=60.0)
    better = {"all": {**NAMES, "bleu_4": 14.0, "self_bleu": 30.0}}
    both = replace(first, metrics={**first.metrics, "grpo": better})
    references, themselves = caption_tables([both])
    place = [c.metric for c in references.columns].index("bleu_4")
    assert [references.is_best(row, place) for row in range(2)] == [False, True]
    assert not any(themselves.is_best(row, 0) for row in range(2))
    assert "Bold" in references.note
    assert "Bold" not in themselves.note


def test_what_was_left_out_is_said_once() -> None:
    found = replace(run(bleu_4=1.0, words=4.0), left_out={"meteor": "it needs Java"})
    notes = [table.note for table in caption_tables([found])]
    assert [note.count("Left out: meteor (it needs Java).") for note in notes] == [1, 0]


VALUES = dict.fromkeys(("precision", "recall", "f1", "accuracy", "cider", "words"), 50.0)
CAPTIONS = Score({"bleu_1": 40.0, "words": 50.0, "copied": 3.0}, {"bleu_1": (39.0, 41.0)})


def rescored(label: str, protocol: str) -> Rescored:
    return Rescored(
        label, "single", protocol, 9, 9, Score(VALUES, {}), CAPTIONS, {"spice": "no jar"}
    )


def test_rescored_captions_have_a_row_a_set_whatever_the_protocols() -> None:
    rows = [rescored(label, protocol) for label in ("a|b", "c") for protocol in ("paper", "robust")]
    first, second = rescored_tables(rows)
    assert [row.label for row in first.rows] == ["a|b", "c"]
    assert [c.metric for c in first.columns] == ["bleu_1"]  # CIDEr and words are in the main table
    assert [c.metric for c in second.columns] == ["copied"]
    text = markdown(rows)
    assert "| captions | B-1 |\n| :-- | --: |\n| a\\|b | 40.0 [39.0, 41.0] |\n| c |" in text
    assert text.count("Left out: spice (no jar).") == 1
    lines = csv_text(rows).splitlines()
    assert lines[0].endswith("words,words_low,words_high,bleu_1,bleu_1_low,bleu_1_high,"
                             "copied,copied_low,copied_high")  # fmt: skip
    assert lines[1].endswith("40,39,41,3,,")
    assert '"left_out": {\n    "spice": "no jar"\n  }' in json_text(rows)
