import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from repic.metrics.caption_files import read_predictions
from repic.tables.runs import (
    Curve,
    EvaluatedOn,
    Phase,
    evaluated_runs,
    find_runs,
    find_unfinished,
    read_metrics,
    read_run,
)
from repic.types import Prediction
from tests.unit.tables.saved import AUTHORS

SUMMARY = {
    "name": "multi_concept_3",
    "seed": 1,
    "overrides": ["reward=combined", "seed=1"],
    "choices": {"reward": "combined"},
    "git_commit": None,
    "time_s": 12,
    "phases": [
        {
            "phase": "sft",
            "checkpoint": "c",
            "fingerprint": "ff",
            "started_from": "ab12",
            "seconds": 1.0,
            "label": "SFT only",
            "short": "SFT",
            "curves": [{"title": "SFT loss", "keys": "sft/(loss)"}],
        }
    ],
    "captioners": {
        "sft": {
            "label": "SFT only",
            "short": "SFT",
            "is_shared": True,
            "has_model": True,
            "cost": {},
        }
    },
    "metrics": {"sft": {"3": {"accuracy": 42.5, "accuracy_ci": [40, 45], "cider": None}}},
    "test_set": {"scenes": "ab", "prompts": "cd", "settings": {"metrics.tokenizer": "words"}},
    "a later version's key": 1,
}
PREDICTION = Prediction(
    id="toybox/0",
    phase="sft",
    task="caption",
    num_concepts=1,
    prompt="Who is it?",
    images=("toybox:0",),
    caption="A line\u2028break, <momi>\n<tavo>",
    answers=("<momi> sits",),
    present=("<momi>",),
    pool=("<momi>", "<tavo>"),
    rewards={"recognition": 0.5, "box": None},
    finished=False,
)


def write_summary(folder: Path, **changes: object) -> Path:
    values = {k: v for k, v in {**SUMMARY, **changes}.items() if v != "absent"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(values))
    return folder


def test_a_summary_is_read(tmp_path: Path) -> None:
    run = read_run(write_summary(tmp_path))
    assert (run.folder, run.name, run.seed, run.time_s) == (tmp_path, "multi_concept_3", 1, 12.0)
    assert run.overrides == ("reward=combined", "seed=1")
    assert run.choices == {"reward": "combined"}
    assert run.git_commit is None
    assert run.phases == (
        Phase("sft", "c", "ff", "ab12", "SFT only", "SFT", (Curve("SFT loss", "sft/(loss)"),)),
    )
    assert run.authors == {"sft": AUTHORS["sft"]}
    assert run.test_set == EvaluatedOn("ab", "cd", {"metrics.tokenizer": "words"})
    cell = run.metrics["sft"]["3"]
    assert cell["accuracy"] == 42.5
    assert cell["accuracy_ci"] == (40.0, 45.0)
    assert math.isnan(cell["cider"])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": "absent"}, "'seed' is missing"),
        ({"seed": "1"}, "key 'seed': is \"1\", need a whole number"),
        ({"seed": True}, "key 'seed': is true, need a whole number"),
        ({"choices": ["reward"]}, "key 'choices': is .* need a JSON object"),
        ({"time_s": None}, "key 'time_s': is null, need a number"),
        ({"metrics": {"sft": 3}}, r"key 'metrics\.sft': is 3, need a JSON object"),
        ({"captioners": {}}, "'captioners' does not have 'sft', whose metrics it has"),
        ({"test_set": None}, "has metrics, but no test_set"),
        ({"test_set": {"scenes": "a", "prompts": 3}}, r"key 'test_set\.prompts': is 3, need text"),
        ({"metrics": {"sft": {"many": {}}}}, "metrics.sft: 'many' is neither a number of concepts"),
        (
            {"metrics": {"sft": {"3": {"f1": math.inf}}}},
            r"metrics\.sft\.3\.f1: Infinity is not fin",
        ),
        ({"metrics": {"sft": {"3": {"f1": "good"}}}}, r"metrics\.sft\.3\.f1: \"good\" is not"),
        ({"metrics": {"sft": {"3": {"f1_ci": [1, 2, 3]}}}}, r"metrics\.sft\.3\.f1_ci"),
    ],
)
def test_what_is_wrong_with_a_summary_is_named(
    tmp_path: Path, changes: dict, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        read_run(write_summary(tmp_path, **changes))
    assert str(tmp_path / "summary.json") in str(error.value)


def test_a_missing_summary_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did the run end"):
        read_run(tmp_path)


def test_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    for name in ("b/seed_0", "a/seed_1"):
        write_summary(tmp_path / name)
    assert [run.folder.parent.name for run in find_runs(tmp_path)] == ["a", "b"]
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"summary.json: is a file; name the folder that it lies"):
        find_runs(tmp_path / "b" / "seed_0" / "summary.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no finished run.*at any depth\)$"):
        find_runs(tmp_path / "empty")


def test_runs_that_have_not_ended_are_told_from_work_without_a_table(tmp_path: Path) -> None:
    write_summary(tmp_path / "done/seed_0")
    for name, evaluated in (("done/seed_0", "[sft]"), ("begun/seed_1", "[sft]"), ("check", "[]")):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "config.yaml").write_text(f"method: {{evaluated: {evaluated}}}")
    (tmp_path / "config.yaml").write_text("- of another program")
    assert find_unfinished([tmp_path, tmp_path / "begun"]) == [tmp_path / "begun/seed_1"]
    with pytest.raises(ValueError, match=r"begun/seed_1 has not ended: the same command goes on"):
        find_runs(tmp_path / "begun")


def test_a_folder_whose_runs_have_not_ended_is_passed_over_among_others(tmp_path: Path) -> None:
    write_summary(tmp_path / "done", metrics={"sft": {"3": {"f1": 50.0}}})
    (tmp_path / "begun/seed_1").mkdir(parents=True)
    (tmp_path / "begun/seed_1/config.yaml").write_text("method: {evaluated: [sft]}")
    runs, passed_over = evaluated_runs([tmp_path / "begun", tmp_path / "done"])
    assert [run.folder for run in runs] == [tmp_path / "done"]
    assert [told.rpartition(": ")[2] for told in passed_over] == [str(tmp_path / "begun/seed_1")]
    with pytest.raises(ValueError, match="holds no finished run"):
        evaluated_runs([tmp_path / "begun"])


def test_metrics_are_read_line_by_line(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text(
        '{"phase": "grpo", "iteration": 1, "grpo/kl": 0.5, "grpo/loss": null, "note": "x"}\n\n'
        '{"phase": "grpo", "iteration": 2, "grpo/kl": 1}\n'
    )
    first, second = read_metrics(tmp_path)
    assert (first.phase, first.iteration, first.values["grpo/kl"]) == ("grpo", 1, 0.5)
    assert math.isnan(first.values["grpo/loss"])
    assert "note" not in first.values
    assert second.values == {"grpo/kl": 1.0}


def test_a_bad_line_of_metrics_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"phase": "grpo", "iteration": 1}\n\n{"phase": "grpo", "itera\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3: not JSON .*mend or remove"):
        read_metrics(tmp_path)
    path.write_text('{"phase": "grpo"}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1: the key 'iteration' is missing"):
        read_metrics(tmp_path)
    path.write_text("[1]\n")
    with pytest.raises(ValueError, match=r"line 1: is \[1\], need a JSON object"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_predictions_survive_writing_and_reading(tmp_path: Path, ensure_ascii: bool) -> None:
    line = json.dumps(asdict(PREDICTION), ensure_ascii=ensure_ascii)
    (tmp_path / "predictions.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    assert read_predictions(tmp_path) == [PREDICTION, PREDICTION]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"caption": 3}, ", key 'caption': is 3, need text"),
        ({"pool": [None]}, ", key 'pool.0': is null, need text"),
        (
            {"rewards": {"recognition": "high"}},
            '.*recognition.: is "high", need a number',
        ),
        ({"finished": 1}, ", key 'finished': is 1, need true or false"),
        ({"captoin": "x"}, ": unknown key 'captoin'"),
    ],
)
def test_a_bad_prediction_is_named(tmp_path: Path, changes: dict, complaint: str) -> None:
    good = json.dumps(asdict(PREDICTION))
    bad = json.dumps({**asdict(PREDICTION), **changes})
    (tmp_path / "predictions.jsonl").write_text(f"{good}\n{bad}\n")
    with pytest.raises(ValueError, match=rf"predictions\.jsonl, line 2{complaint}"):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("keys", "said"), [("(", "is no regular expression"), ("sft/loss", "has no group")]
)
def test_a_curve_s_pattern_is_checked(tmp_path: Path, keys: str, said: str) -> None:
    (phase,) = SUMMARY["phases"]
    spoiled = {**phase, "curves": [{"title": "Loss", "keys": keys}]}
    with pytest.raises(ValueError, match=rf"summary\.json: curves, keys .*{said}"):
        read_run(write_summary(tmp_path, phases=[spoiled]))
