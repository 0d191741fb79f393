import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.kept import FILE, CaptionScores
from repic.metrics.suite import MetricSuite
from repic.tables.ablation import ablation
from repic.tables.runs import Run
from repic.tables.weighting import (
    METRIC,
    column,
    note,
    parse_weights,
    shared_conditions,
    weighted_rewards,
    with_weighted_rewards,
)
from tests.unit.tables.saved import predictions, save_run

DRAWS = {"num_samples": 50, "confidence": 0.95, "seed": 0}
TEST = predictions("grpo", [True, False, True, True])
NONE = {"reward": "none"}


def measured(captions: list) -> CaptionScores:
    suite = MetricSuite(
        counts=[1], captions=[], tokenizer="words", scorers={}, bootstrap_samples=0,
        confidence=0.95, seed=0,
    )  # fmt: skip
    return suite.measure(captions)


def mean(captions: list, weights: dict[str, float]) -> float:
    found = weighted_rewards(measured(captions), weights)
    return found.scores(found.rows.sum(axis=0, keepdims=True))[METRIC].item()


def test_worked_by_hand(tmp_path: Path) -> None:
    """Names right in 3 of 4, cider 0.5 in all: 2 · 3/4 - 0.5 = 1; the box applies nowhere."""
    run = save_run(tmp_path / "run", TEST)
    weights = {"names": 2.0, "cider": -1.0, "box": 5.0}
    (found,) = with_weighted_rewards([run], weights, **DRAWS)
    for count in ("1", "all"):
        cell = found.metrics["grpo"][count]
        assert cell[METRIC] == 1.0
        low, high = cell[f"{METRIC}_ci"]
        assert -0.5 <= low < 1 < high <= 1.5
        assert cell["accuracy"] == 75  # what was there stays
    assert METRIC not in run.metrics["grpo"]["all"]


def test_parts_that_do_not_apply_do_not_count() -> None:
    some = [replace(TEST[0], rewards={"box": None, "names": 1.0}), *TEST[1:]]
    some[1] = replace(TEST[1], rewards={"box": 0.25, "names": 0.0})
    assert mean(some, {"box": 4.0}) == 1.0  # of the one caption that has it
    assert math.isnan(mean(TEST, {"box": 4.0}))
    assert mean([replace(TEST[0], rewards={"names": math.nan, "cider": 0.5})], {"names": 1.0, "cider": 2.0}) == 1.0  # fmt: skip  # noqa: E501


GATE = {"component": ["style", "names"], "given": "length", "at_least": 0.5, "at_most": 2}


def with_conditions(run: Run, *conditions: Mapping[str, object]) -> Run:
    """Give a run a configuration whose reward has these conditions."""
    rubric = {"rewards": {}, "conditions": {str(i): dict(c) for i, c in enumerate(conditions)}}
    text = yaml.safe_dump({"reward": {"rubric": rubric}})
    (run.folder / "config.yaml").write_text(text)
    return run


def test_a_part_counts_only_where_its_condition_holds_worked_by_hand(tmp_path: Path) -> None:
    """Style 0.8 each; lengths 0.4, 1, 3 and none: it counts in the second and the fourth."""
    lengths = (0.4, 1.0, 3.0, None)
    kept = [{"style": 0.8, "box": 1.0, "length": length} for length in lengths]
    captions = [replace(p, rewards=r) for p, r in zip(TEST, kept, strict=True)]
    run = with_conditions(save_run(tmp_path / "a", captions), GATE)
    weights = {"style": 1.0, "box": 0.5}
    conditions = shared_conditions([run])
    assert conditions == (GATE,)
    rows = weighted_rewards(measured(captions), weights, conditions).rows
    assert rows[:, 0] == pytest.approx([0.5, 1.3, 0.5, 1.3])
    (found,) = with_weighted_rewards([run], weights, **DRAWS)
    assert found.metrics["grpo"]["all"][METRIC] == pytest.approx(0.9)
    assert note(weights, conditions).endswith(
        "As in training, style only where length is at least 0.5 and at most 2."
    )
    assert "As in training" not in note({"box": 1.0}, conditions)
    # What a run did not keep cannot be looked at.
    assert weighted_rewards(measured(TEST), {"names": 1.0}, conditions).rows[:, 0].tolist() == [
        1,
        0,
        1,
        1,
    ]


def test_runs_with_other_conditions_are_measured_alike(tmp_path: Path) -> None:
    captions = [replace(p, rewards={"style": 0.8, "length": 9.0}) for p in TEST]
    runs = [save_run(tmp_path / name, captions) for name in "abc"]
    with_conditions(runs[0], GATE)
    assert shared_conditions(runs) == (GATE,)  # the others have no configuration, and no say
    (runs[1].folder / "config.yaml").write_text("reward: {rubric: null}")
    assert shared_conditions(runs) == (GATE,)
    with_conditions(runs[1], {**GATE, "at_most": 10})
    assert shared_conditions(runs) is None
    found = with_weighted_rewards(runs, {"style": 1.0}, **DRAWS)
    means = [run.metrics["grpo"]["all"][METRIC] for run in found]
    assert means == pytest.approx([0.8, 0.8, 0.8])
    assert "none is applied" in note({"style": 1.0}, None)


parts = st.dictionaries(st.sampled_from("abc"), st.floats(-2, 2), min_size=1)


@given(st.lists(parts, min_size=1, max_size=5), st.floats(-3, 3), st.floats(-3, 3))
def test_the_mean_is_linear_in_the_weights(kept: list[dict], a: float, b: float) -> None:
    captions = [replace(TEST[0], rewards={"a": 0.0, **rewards}) for rewards in kept]
    both = mean(captions, {"a": a, "b": b})
    # Every caption has "a", so that all count with either weight.
    alone = mean(captions, {"a": a, "b": 0.0}) + mean(captions, {"a": 0.0, "b": b})
    assert both == pytest.approx(alone, abs=1e-9)


def test_unknown_parts_are_named_with_those_there_are(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", TEST)
    with pytest.raises(ValueError, match="part 'fluency'; there are box, cider, names"):
        with_weighted_rewards([run], {"names": 1.0, "fluency": 1.0}, **DRAWS)
    without = save_run(tmp_path / "without", predictions("sft", [True, True], rewards={}))
    with pytest.raises(ValueError, match="none: these runs were made without a reward"):
        with_weighted_rewards([without], {"names": 1.0}, **DRAWS)
    # Beside one that has the parts, a run without them has no value.
    _, found = with_weighted_rewards([run, without], {"names": 1.0}, **DRAWS)
    assert METRIC not in found.metrics["sft"]["all"]


def test_a_run_without_scores_is_named(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", TEST)
    (run.folder / FILE).unlink()
    with pytest.raises(ValueError, match=r"run: there is no scores\.npz.*start the run's command"):
        with_weighted_rewards([run], {"names": 1.0}, **DRAWS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("names", "'names' is not <part>=<number>"),
        ("names=much", "'names=much' is not"),
        ("=1", "'=1' is not"),
        ("names=nan", "'names=nan' is not"),
        ("names=1,names=2", "'names' stands there twice"),
    ],
)
def test_weights_that_are_none(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_weights(text)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_shared_model_stays_one_row_if_a_run_kept_no_parts(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """reward=none keeps none: its SFT has no weighted reward, and is still the others' SFT."""
    kept = [replace(p, phase="sft") for p in TEST]
    runs = [
        save_run(tmp_path / "none", [replace(p, rewards={}) for p in kept], choices=NONE),
        save_run(tmp_path / "a", [*kept, *TEST], choices={"reward": "quality"}),
        save_run(tmp_path / "b", [*kept, *TEST], choices={"reward": "combined"}),
    ]
    weights = {"names": 1.0}
    weighed = with_weighted_rewards([runs[i] for i in order], weights, **DRAWS)
    rows = ablation(weighed, [column(weights)]).rows
    assert [row.label for row in rows].count("SFT only") == 1
    (sft,) = [row for row in rows if row.phase == "sft"]
    assert sft.cells[0] is not None
    assert sft.cells[0].mean == 0.75


def test_rewards_that_contradict_each_other_are_two_rows(tmp_path: Path) -> None:
    """Though neither contradicts the run that has none, and stands before both."""
    kept = [replace(p, phase="sft") for p in TEST]
    other = [replace(p, rewards={"names": 0.25}) for p in kept]
    runs = [
        save_run(tmp_path / "none", [replace(p, rewards={}) for p in kept], choices=NONE),
        save_run(tmp_path / "a", kept, choices={"reward": "quality"}),
        save_run(tmp_path / "b", other, choices={"reward": "combined"}),
    ]
    weights = {"names": 1.0}
    rows = ablation(with_weighted_rewards(runs, weights, **DRAWS), [column(weights)]).rows
    values = {row.label: row.cells[0] and row.cells[0].mean for row in rows}
    assert values == {
        "SFT only (reward=none)": None,
        "SFT only (reward=quality)": 0.75,
        "SFT only (reward=combined)": 0.25,
    }
