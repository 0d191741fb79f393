import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from repic.metrics.captions.when import When
from repic.metrics.suite import MetricSuite
from repic.page.run_page import run_tables
from repic.tables.ablation import RETRIEVER
from repic.tables.differences import differences
from repic.tables.estimates import Estimate
from repic.tables.layouts import LAYOUTS, NAMES_NOTE, names_table, tables_of
from repic.tables.paired import NOT_MEASURED
from repic.tables.runs import Run, read_run
from tests.unit.tables.saved import compare, predictions, save_run
from tests.unit.tables.test_write import shown

RIGHT = [True, False, True, True]
BOTH = [
    p
    for phase, right in (("sft", RIGHT), ("grpo", [True] * 4))
    for count in (1, 2, 3)
    for p in predictions(phase, right, count=count)
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return save_run(tmp_path / "run", BOTH)


@pytest.mark.parametrize(
    ("form", "labels"),
    [
        ("accuracy", ["acc@1", "acc@2", "acc@3", "CIDEr"]),
        ("founding", ["single concept", "multi concept (3)", "caption quality"]),
        ("single", ["accuracy@1", "CIDEr@1", "overall"]),
        ("multi", ["acc@2", "acc@3"]),
    ],
)
def test_columns_of_the_forms(run: Run, form: str, labels: list[str]) -> None:
    (table,) = tables_of(form, [run]).values()
    assert [column.label for column in table.columns] == labels
    sft, rl = table.rows
    assert (sft.label, rl.label) == ("SFT only", "+ RL")
    assert sft.cells[0].mean == 75
    assert rl.cells[0].mean == 100


def test_overall_is_the_mean_of_the_two(run: Run) -> None:
    (table,) = tables_of("single", [run]).values()
    accuracy, cider, overall = (e.mean for e in table.rows[0].cells)
    assert overall == pytest.approx((accuracy + cider) / 2)


def test_names_have_a_table_for_each_number_of_concepts(run: Run) -> None:
    tables = tables_of("names", [run])
    assert list(tables) == ["names_1", "names_2", "names_3"]
    assert "at 1 concept:" in tables["names_1"].title
    assert [NAMES_NOTE in table.note for table in tables.values()] == [True, False, False]
    # 3 of 4 captions are right and the fourth names nobody.
    means = [e.mean for e in tables["names_3"].rows[0].cells]
    assert means == pytest.approx([100, 75, 600 / 7, 100, 75, 600 / 7])
    assert len(tables["names_1"].columns) == 6


def test_all_is_every_form_and_each_once(run: Run) -> None:
    names = list(tables_of("all", [run]))
    others = ("names", "clips", "recognition", "questions", "costs")  # of stills; nothing was asked
    forms = [form for form in LAYOUTS if form not in others]
    assert names == [*forms, "names_1", "names_2", "names_3", "cider"]


def test_a_form_that_no_run_has_says_which_counts_there_are(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", predictions("sft", RIGHT, count=1))
    with pytest.raises(ValueError, match=r"--form multi: no run has .*evaluated: 1\."):
        tables_of("multi", [run])
    assert "multi" not in tables_of("all", [run])


def test_names_fit_into_eighty_characters(run: Run) -> None:
    table = names_table([run], "2")
    long = Estimate(99.0, 98.4, 100.0, num_seeds=1)  # no interval is written longer
    label = "+ RL (kl=default, kl.coef=0.04)"
    rows = [replace(row, label=label, cells=(long,) * 6) for row in table.rows]
    text = shown(replace(table, rows=rows))
    assert text.count("[98–100]") == 12
    assert text.count("robust") >= 3


def test_a_runs_own_tables_have_names_once(run: Run) -> None:
    titles = [table.title for table in run_tables(run)]
    assert sum("precision" in title for title in titles) == 1


def test_systems_of_several_experiments_have_one_table_of_answers_and_one_of_costs(
    tmp_path: Path,
) -> None:
    runs = []
    for experiment, phase in (("systems", "sft"), ("rap", "grpo")):
        for seed in (0, 1):
            folder = tmp_path / f"{experiment}_{seed}"
            save_run(
                folder, predictions(phase, RIGHT), seed=seed,
                choices={"experiment": experiment, "captioner": experiment},
                overrides=[f"experiment={experiment}"],
            )  # fmt: skip
            said = json.loads((folder / "summary.json").read_text())
            cost = {"pictures": 4, "seconds": 2.0 + seed, "parameters": 8, "prompt_tokens": None}
            said["captioners"][phase]["cost"] = cost
            said["recognition"] = {phase: {"positive": 80.0 + 10 * seed, "neither": 0.0}}
            said["recognition"]["name_everybody"] = None
            (folder / "summary.json").write_text(json.dumps(said))
            runs.append(read_run(folder))
    (answers,) = tables_of("recognition", runs).values()
    assert [row.label for row in answers.rows] == ["SFT only", "+ RL"]
    assert [row.num_seeds for row in answers.rows] == [2, 2]
    assert [column.label for column in answers.columns] == ["positive", "neither"]
    assert [cell.mean for cell in answers.rows[1].cells] == [85, 0]
    costs = tables_of("all", runs)["costs"]
    by_column = dict(zip([c.label for c in costs.columns], costs.rows[0].cells, strict=True))
    assert by_column["seconds"].mean == 2.5
    assert by_column["parameters"].mean == 8
    assert by_column["prompt tokens"] is None
    said["captioners"]["grpo"]["cost"]["seconds"] = "long"
    (runs[-1].folder / "summary.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r'cost.seconds: "long" is not a number'):
        read_run(runs[-1].folder)


def with_summary(folder: Path, **changes: object) -> Run:
    said = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**said, **changes}))
    return read_run(folder)


def test_what_was_not_counted_again_is_no_other_result(tmp_path: Path) -> None:
    """Tokens are counted where captions are written; a run that finds them kept has none."""
    runs = []
    for name, tokens in (("first", 7.0), ("again", None)):
        run = save_run(tmp_path / name, predictions("base", RIGHT), seed=len(runs))
        cost = {"pictures": 2, "seconds": 0.5, "prompt_tokens": tokens}
        author = {**vars(run.authors["base"]), "cost": cost}
        runs.append(with_summary(run.folder, captioners={"base": author}))
    for some in (runs, [replace(run, seed=0) for run in runs]):
        (row,) = tables_of("costs", some)["costs"].rows
        assert row.num_seeds == 1
        assert row.cells[-1].mean == 7.0


def test_answers_of_runs_stand_with_their_controls_and_on_the_page(tmp_path: Path) -> None:
    runs = []
    for seed in (0, 1):
        folder = save_run(tmp_path / str(seed), BOTH, seed=seed).folder
        whole = {"visual": 60.0 + 10 * seed, "text": 90.0, "mean": 75.0 + 5 * seed}
        cells = {"whole": whole, "no_picture": {"visual": 30.0}}
        runs.append(with_summary(folder, questions={"sft": None, "grpo": cells}))
    (table,) = tables_of("questions", runs).values()
    assert [row.label for row in table.rows] == ["+ RL", "+ RL, without the picture"]
    assert [column.label for column in table.columns] == ["visual", "text", "mean"]
    assert [cell and cell.mean for row in table.rows for cell in row.cells] == [
        *(65.0, 90.0, 77.5),
        *(30.0, None, None),
    ]
    assert table.title in [shown.title for shown in run_tables(runs[0])]
    # Seeds tell whether answers differ; of one run's, none are kept to be paired.
    (row,) = differences(table, "+ RL", compare()).rows
    assert [cell and cell.mean for cell in row.cells] == [-35.0, None, None]
    (one,) = tables_of("questions", runs[:1]).values()
    found = differences(one, "+ RL", compare())
    assert found.rows[0].cells == (None, None, None)
    assert found.note.endswith(f"Not paired: visual ({NOT_MEASURED}).")
    with pytest.raises(ValueError, match=r'questions.grpo.whole.text: "all" is not a number'):
        with_summary(runs[0].folder, questions={"grpo": {"whole": {"text": "all"}}})


def test_everybody_of_a_retriever_is_the_retriever(tmp_path: Path) -> None:
    everybody = predictions("name_everybody", RIGHT)
    runs = [
        save_run(tmp_path / "skip", [*everybody, *predictions("sft", [False] * 4)]),
        save_run(
            tmp_path / "toybox", [*everybody, *predictions("sft", [True] * 4)],
            choices={"retrieval": "toybox"},
        ),
    ]  # fmt: skip
    (table, *_) = tables_of("names", runs).values()
    assert [row.label for row in table.rows] == [
        "names everybody (retrieval=skip)",
        "SFT only (retrieval=skip)",
        f"{RETRIEVER} (retrieval=toybox)",
        "SFT only (retrieval=toybox)",
    ]
    # The best is sought within each setting: without a retriever others are best.
    recall = [column.metric for column in table.columns].index("recall")
    assert [table.is_best(row, table.columns[recall]) for row in table.rows] == [
        True,
        False,
        False,
        True,
    ]
    (alone, *_) = tables_of("names", runs[1:]).values()
    assert alone.rows[0].label == RETRIEVER


def test_a_score_that_is_no_number_is_absent(run: Run) -> None:
    run.metrics["grpo"]["1"]["accuracy"] = math.nan
    (table,) = tables_of("accuracy", [run]).values()
    assert table.rows[1].cells[0] is None
    assert not table.is_best(table.rows[1], table.columns[0])
    nothing = replace(run, metrics={"grpo": {"1": {"accuracy": math.nan}}})
    with pytest.raises(ValueError, match="--form all: no run has a value for it"):
        tables_of("all", [nothing])


def test_clips_have_names_by_clip_and_by_frame(tmp_path: Path) -> None:
    """Of stills there is no such table: nobody says who is in which frame."""
    answer = "A bear, <bo>, from 1 s to 3 s."
    said = [answer, "A bear, <bo>, at 3 s.", "A bear, <mi>, from 1 s to 3 s."]
    captions = [
        replace(p, caption=text, answers=(answer,), present=("<bo>",), pool=("<bo>", "<mi>"))
        for p, text in zip(predictions("sft", [True] * 3), said, strict=True)
    ]
    suite = MetricSuite(
        counts=[1], captions=["when"], tokenizer="words", scorers={"when": When()},
        bootstrap_samples=0, confidence=0.95, seed=0,
    )  # fmt: skip
    (table,) = tables_of("clips", [save_run(tmp_path / "run", captions, suite=suite)]).values()
    assert [c.label for c in table.columns[:3]] == ["P by clip", "R by clip", "F1 by clip"]
    assert [c.label for c in table.columns[3:]] == ["P by frame", "R by frame", "F1 by frame"]
    # By clip two of three names are right; by frame three of five pairs said, of six.
    means = [estimate.mean for estimate in table.rows[0].cells]
    assert means == pytest.approx([200 / 3, 200 / 3, 200 / 3, 60, 50, 600 / 11])
    stills = save_run(tmp_path / "stills", BOTH)
    with pytest.raises(ValueError, match="--form clips: no run has a value for it"):
        tables_of("clips", [stills])
