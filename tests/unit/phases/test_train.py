from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from repic import files
from repic.phases import train
from repic.phases.context import TrainedModel
from repic.phases.train import finished

MADE = TrainedModel("grpo", "elsewhere", "weights: 1", "sft", 1.5)


def read(folder: Path, asked: str = "this") -> TrainedModel | None:
    return finished(folder, lambda: asked, lambda path: (Path(path) / "model").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a model, marked as done."""
    made = tmp_path / "grpo"
    made.mkdir()
    (made / "model").write_text("weights: 1")
    files.mark_done(made, {**MADE.record(), "asked": "this"})
    return made


def test_a_finished_model_is_where_its_folder_is(folder: Path) -> None:
    moved = folder.rename(folder.with_name("moved"))
    found = read(moved)
    assert found == TrainedModel("grpo", str(moved), "weights: 1", "sft", 1.5)
    assert read(folder) is None


def other_mark(folder: Path, **changes: Any) -> None:
    files.mark_done(folder, {**MADE.record(), "asked": "this", **changes})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: other_mark(f, asked="that"), "from another model, or of other data, than there"),
        (lambda f: files.mark_done(f, MADE.record()), "from another model, or of other data"),
        (lambda f: (f / "model").write_text("weights: 2"), "holds another model than the one that"),
        (lambda f: (f / "model").write_text("weights: 12"), "files have gone or changed since"),
        (lambda f: (f / "model").unlink(), "files have gone or changed since"),
        (lambda f: other_mark(f, time_s="long"), "key 'time_s': is \"long\", need a number"),
        (lambda f: other_mark(f, more=1), "unknown key 'more'"),
        (lambda f: (f / files.DONE).write_text(""), "is empty, need JSON"),
        (lambda f: (f / files.DONE).write_text('{"phase"'), "not JSON"),
        (lambda f: (f / files.DONE).write_text("[1]"), r"is [1], need a JSON object"),
        (lambda f: (f / files.DONE).write_text('{"files": [3]}'), "is [3], need a JSON object"),
    ],
)
def test_a_mark_that_speaks_of_something_else_is_not_believed(
    folder: Path, spoil: Callable[[Path], Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(folder)
    assert read(folder) is None
    assert said in caplog.text
    assert not folder.exists()
    assert (folder.with_name("grpo.set_aside") / files.DONE).exists()


@pytest.mark.parametrize("sharding", [None, "slices"])
def test_no_gradients_are_kept_while_a_model_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sharding: str | None
) -> None:
    policy: Any = torch.nn.Linear(2, 2)
    policy.sharding = sharding
    policy(torch.ones(2)).sum().backward()
    held = []

    def look(exported: torch.nn.Module, *rest: Any, **settings: Any) -> Any:
        held.append([parameter.grad for parameter in exported.parameters()])
        return exported

    monkeypatch.setattr(train, "export_policy", look)
    monkeypatch.setattr(train, "gathered_on_main", look)  # where ranks have slices
    given: Any = SimpleNamespace(
        sampling=None, fingerprint=lambda folder: "", time_s=0.0, forget=lambda: None
    )
    start = TrainedModel("base", "", "", None, 0.0)
    train.export("sft", given, start, tmp_path / "sft", policy, given, lambda: "")
    assert held == [[None, None]] * len(held)
    assert len(held) == 1 + (sharding is not None)
