"""Somebody's own reward: a function in a file beside the command, in no way part of the package."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from repic import assembly
from tests import forked
from tests.integration.small import FEW, rows_of, start

FUNCTION = """
def vowels(completions, examples, present):
    assert len(completions) == len(examples) == len(present)
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in completions]
"""
ADDED = (
    "+reward.rubric.rewards.mine={_target_:repic.rewards.function.FunctionReward,"
    "function:own_vowels.vowels,components:[vowels],tasks:[caption],columns:[present]}"
)
WEIGHT = "+reward.rubric.weights.vowels=0.5"
YAML = """
defaults:
  - combined
  - _self_
rubric:
  rewards:
    mine:
      _target_: repic.rewards.function.FunctionReward
      function: own_vowels.vowels
      components: [vowels]
      tasks: [caption]
      columns: [present]
  weights: {vowels: 0.5}
"""


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """The folder of a command, with a module of rewards and a folder of configuration."""
    (tmp_path / "own_vowels.py").write_text(FUNCTION)
    (tmp_path / "my_conf" / "reward").mkdir(parents=True)
    (tmp_path / "my_conf" / "reward" / "mine.yaml").write_text(YAML)
    return tmp_path


def rubric_of(cfg: DictConfig) -> dict[str, float]:
    rubric = assembly.make(cfg.reward.rubric)
    return dict(zip(rubric.names, rubric.weights.tolist(), strict=True))


def test_it_composes_from_the_command_line_and_from_a_file_alike(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(beside)
    path = f"hydra.searchpath=[file://{beside / 'my_conf'}]"
    with initialize_config_module("repic.conf", version_base="1.3"):
        by_line = compose("config", overrides=[ADDED, WEIGHT])
        by_file = compose("config", overrides=["reward=mine", path])
        plain = compose("config")
    assert rubric_of(by_line) == rubric_of(by_file) == {**rubric_of(plain), "vowels": 0.5}


def test_the_short_form_is_the_long_one(
    beside: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(beside)
    rubrics = []
    for given in ([ADDED, WEIGHT], ["reward.own=own_vowels.vowels:0.5"]):
        with initialize_config_module("repic.conf", version_base="1.3"):
            cfg = compose("config", overrides=[f"model.path={model}", *given])
        resolved = OmegaConf.to_container(cfg, resolve=True)
        grpo = assembly.assemble(cfg, beside, resolved).phases["grpo"]
        rubrics.append(grpo.rubric)
    long, short = rubrics
    assert long.names == short.names
    assert torch.equal(long.weights, short.weights)
    assert long.conditions == short.conditions


def test_it_is_trained_on_and_logged_together_with_the_references_likelihood(
    model: Path, beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(beside)
    folder = start(model, beside, "reward=seed", "kl=none", ADDED, WEIGHT, FEW, letters=False)
    rows = [row for row in rows_of(folder) if row["phase"] == "grpo"]
    assert [row["iteration"] for row in rows] == [1, 2]
    for row in rows:
        assert 0 < row["grpo/reward/vowels"] < 1
        assert 0 < row["grpo/raw_reward/likelihood"] < 1
    predicted = (folder / "predictions.jsonl").read_text().splitlines()
    rewards = [json.loads(line)["rewards"] for line in predicted]
    assert all(0 <= reward["vowels"] < 1 for reward in rewards)
    assert all(reward["likelihood"] is None for reward in rewards)  # no reference there


@pytest.mark.parametrize("quits", ["import sys; sys.exit(0)", "raise SystemExit"])
def test_a_module_that_exits_is_no_run_that_has_ended_well(
    beside: Path, model: Path, main: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, quits: str
) -> None:
    monkeypatch.chdir(beside)
    (beside / "own_quits.py").write_text(quits)
    monkeypatch.delitem(sys.modules, "own_quits", raising=False)
    given = [f"model.path={model}", f"outputs={beside}/out", "debug=fast"]
    status, _, complaint = main(*given, "reward.own=own_quits.wit")
    assert status == 1
    assert "importing own_quits failed: SystemExit" in complaint
    # Where no message of ours is near: whoever's class the configuration names.
    status, _, complaint = main(*given, "engine._target_=own_quits.Engine", "name=other")
    assert status == 1
    assert "has ended the run by sys.exit" in complaint


@pytest.mark.parametrize("console_script", [False, True])
def test_the_module_is_found_beside_the_command(beside: Path, console_script: bool) -> None:
    """Naming everybody needs no model: its captions are scored by every reward there is."""
    script = beside / "bin" / "repic"
    script.parent.mkdir()
    script.write_text("from repic.run import main; main()")  # as an installed script has it
    program = [str(script)] if console_script else ["-m", "repic.run"]
    given = ["--config-dir", "my_conf", "reward=mine", "method=name_everybody", "debug=fast"]
    command = [*program, *given, "metrics.counts=[1]", FEW]
    done = forked.run(command, beside / "said", cwd=beside)
    assert done.returncode == 0, done.stderr
    (predictions,) = beside.glob("outputs/run/*/seed_0/predictions.jsonl")
    assert '"vowels": 0.' in predictions.read_text()
