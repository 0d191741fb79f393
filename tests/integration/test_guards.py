"""A run that a guard has stopped is saved, and goes on as if nothing had happened."""

from pathlib import Path

import pytest
import torch

from repic.phases.guards import RunStopped
from repic.phases.monitor import Monitor
from tests.integration.small import rows_of, start, summary_of
from tests.integration.test_resume import Interrupted, interrupt_at

SIZES = ("phase.grpo.iterations=5", "phase.grpo.checkpoint_every=5", "phase.grpo.optimizer.lr=0.01")
LENGTH = "phase.grpo.guards.max_length"


def test_a_stopped_run_is_saved_and_goes_on(model: Path, tmp_path: Path) -> None:
    guarded = (*SIZES, f"{LENGTH}.patience=2")
    cut = tmp_path / "cut"
    with pytest.raises(RunStopped, match="after iteration 2 of 5"):
        start(model, cut, *guarded, f"{LENGTH}.limit=0")
    (saved,) = cut.rglob("grpo.resume.pt")
    assert torch.load(saved, weights_only=True)["iteration"] == 2  # though none was due before 5
    # It has its patience again, no less and no more.
    with pytest.raises(RunStopped, match="after iteration 4 of 5"):
        start(model, cut, *guarded, f"{LENGTH}.limit=0")
    folder = start(model, cut, *guarded, f"{LENGTH}.limit=null")
    whole = start(model, tmp_path / "whole", *SIZES)
    assert rows_of(folder) == rows_of(whole)
    prints = [[phase["fingerprint"] for phase in summary_of(f)["phases"]] for f in (folder, whole)]
    assert prints[0] == prints[1]


def test_a_cooled_run_resumes_as_cool_as_it_was(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cool = (*SIZES, "phase.grpo.checkpoint_every=3", f"{LENGTH}.limit=0", f"{LENGTH}.action=cool")
    cool += (
        f"{LENGTH}.patience=2",
        "phase.grpo.schedule.warmup=0.0",
        "phase.grpo.schedule.final=1.0",
    )
    whole = start(model, tmp_path / "whole", *cool)
    rows = [row for row in rows_of(whole) if row["phase"] == "grpo"]
    assert [row["grpo/cooled"] for row in rows] == [0, 0, 1, 1, 2]
    assert [row["grpo/lr"] for row in rows] == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.0025])
    assert [row["grpo/kl_coef"] for row in rows] == pytest.approx([0.04, 0.04, 0.08, 0.08, 0.16])
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "log", interrupt_at("grpo", 4))
        with pytest.raises(Interrupted):
            start(model, tmp_path / "cut", *cool)
    assert rows_of(start(model, tmp_path / "cut", *cool)) == rows_of(whole)
