"""The base model from nothing, in a few steps: what each phase may change, and resuming."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from repic.phases.monitor import Monitor
from tests.integration.small import rows_of, start, summary_of
from tests.integration.test_metrics_table import logged, undocumented
from tests.integration.test_resume import Interrupted, interrupt_at

CONF = Path(__file__).parents[2] / "repic/conf"
SIZES = ("+experiment=pretrain_tiny", "method.evaluated=[]", "phase.pretrain_vision.iterations=3")
SIZES += ("phase.pretrain_vision.checkpoint_every=1", "phase.pretrain_vision.val_every=3")
SIZES += ("phase.pretrain_vision.val_size=5",)
SIZES += ("phase.pretrain.val_every=2", "phase.evaluate.sampling.max_new_tokens=4")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start(Path("nowhere"), tmp_path_factory.mktemp("whole"), *SIZES)


def test_the_tower_learns_first_and_the_language_model_second(whole: Path) -> None:
    folders = ("random", "pretrain_vision", "pretrain")
    random, seeing, practised = (
        load_file(whole / "checkpoints" / name / "model.safetensors") for name in folders
    )
    for name, start_value in random.items():
        is_seeing = name.startswith("visual.")
        assert torch.equal(seeing[name], start_value) != is_seeing, name
        assert torch.equal(practised[name], seeing[name]) == is_seeing, name
    phases = summary_of(whole)["phases"]
    assert [phase["phase"] for phase in phases] == ["pretrain_vision", "pretrain"]
    assert phases[1]["started_from"] == phases[0]["fingerprint"]
    assert (whole / "report.html").exists()  # though nothing was captioned


def test_validation_grades_every_task_by_part(whole: Path) -> None:
    keys = {key for row in rows_of(whole) for key in row if key.startswith("val/")}
    assert {"val/describe/colour", "val/scene/order"} <= keys  # of the tower
    assert any(key.endswith("/exact") for key in keys)  # of practice


def test_skills_are_asked_one_by_one(whole: Path, tmp_path: Path) -> None:
    sizes = {"describe_scene": 14, "same": 6, "locate": 4, "who": 5}
    listed = OmegaConf.load(CONF / "phase" / "skills.yaml").examples
    asked = [f"phase.skills.examples.{task}={sizes.get(task, 0)}" for task in listed]
    asked += ["+experiment=skills", "phase.evaluate.sampling.max_new_tokens=4"]
    folder = start(whole / "checkpoints" / "pretrain", tmp_path, *asked)
    rows = json.loads((folder / "skills.json").read_text())["rows"]
    cases = {row["skill"]: row["cases"] for row in rows}
    assert cases["describe_scene: exact"] == 14
    assert cases["same: yes"] + cases["same: no"] == cases["same: exact"] == 6
    assert {"locate: box", "who: species"} <= set(cases)


def test_every_number_is_explained(whole: Path) -> None:
    assert undocumented(logged(whole)) == set()


@pytest.mark.slow
def test_an_interrupted_tower_goes_on_with_its_classifiers(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "log", interrupt_at("pretrain_vision", 2))
        with pytest.raises(Interrupted):
            start(Path("nowhere"), tmp_path, *SIZES)
    resumed = start(Path("nowhere"), tmp_path, *SIZES)
    assert rows_of(resumed) == rows_of(whole)
    assert (
        summary_of(resumed)["phases"][1]["fingerprint"]
        == (summary_of(whole)["phases"][1]["fingerprint"])
    )
