from dataclasses import replace

from repic.metrics.captions.arena import REFERENCE, Arena
from repic.metrics.captions.bert_score import BertScore
from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.capscore import CapScore
from repic.metrics.captions.caption_qa import CaptionQA, GrammarReader
from repic.metrics.captions.cider_r import Cider, CiderR
from repic.metrics.captions.clip_score import ClipScore
from repic.metrics.captions.copying import AgainstInfo, Copied
from repic.metrics.captions.dcscore import DCScore, GrammarFacts
from repic.metrics.captions.diversity import Distinct, Length, SelfBleu
from repic.metrics.captions.meteor import Meteor
from repic.metrics.captions.pairs import GrammarPairs
from repic.metrics.captions.rouge import RougeL
from repic.metrics.captions.spice import Spice
from repic.metrics.column import ScoreColumn
from repic.page.run_page import run_tables
from repic.tables.layouts import caption_tables, grouped
from repic.tables.runs import Run
from repic.toybox.grammar import parse_caption, unread_clauses
from tests.unit.tables.saved import RUN
from tests.unit.tables.test_write import shown

GRAMMAR = {"parser": parse_caption, "unread": unread_clauses}
MODEL = {"path": None, "batch_size": 1}
EXACT = {"source": "grammar"}
METRICS = (
    Cider(),
    CiderR(),
    Bleu(),
    RougeL(),
    Meteor(),
    Spice(),
    BertScore(layer=1, **MODEL),
    ClipScore(weight=1.0, prefix="", **MODEL),
    CapScore(**GRAMMAR),
    DCScore(sources={"grammar": GrammarFacts(**GRAMMAR)}, **EXACT),
    CaptionQA(
        questions=None,
        quizzes=lambda references: [],
        most=None,
        sources={"grammar": GrammarReader(parser=parse_caption)},
        **EXACT,
    ),
    Arena(
        baselines=[REFERENCE],
        sources={"grammar": GrammarPairs(**GRAMMAR, names_first=False)},
        **EXACT,
    ),
    SelfBleu(),
    Distinct(),
    Length(),
    Copied(),
    AgainstInfo(Bleu()),
    AgainstInfo(RougeL()),
    AgainstInfo(Meteor()),
    AgainstInfo(Spice()),
    AgainstInfo(BertScore(layer=1, **MODEL)),
)
COLUMNS = tuple(column for metric in METRICS for column in metric.columns)
EVERY = [column.name for column in COLUMNS if column.is_shown]
NAMES = {"accuracy": 50.0, "cider": 640.0, "overall": 345.0, "num_examples": 4.0}


def run(**cell: float) -> Run:
    found = {**NAMES, **cell, **{f"{k}_ci": (v - 12.3, v + 12.3) for k, v in cell.items()}}
    by_count = {"1": found, "all": found}
    metrics = {"sft": by_count, "grpo": by_count}
    columns = (*COLUMNS, ScoreColumn("charm", "charm"))
    return replace(RUN, metrics=metrics, columns=columns)


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
    assert [title for title, _, _ in grouped(COLUMNS, ["words"])] == ["by themselves"]


def test_notes_say_everything_once() -> None:
    notes = {title: note for title, _, note in grouped(COLUMNS, EVERY)}
    assert notes["against references: n-grams"] == (
        "CIDEr and CIDEr-R: means over captions, from 0 to 1000. B: BLEU of the whole set. R-L:"
        " ROUGE-L."
    )
    assert notes["by judges"].count("By toybox's grammar or by a model") == 1
    assert notes["by themselves"].count("how many captions there are") == 1


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
