"""Which model an RL run started from is on record, and is computed once for all that share it."""

from pathlib import Path

import pytest

from repic.models.directory import fingerprint
from repic.phases.monitor import Monitor
from tests import forked
from tests.integration.small import rows_of, start, summary_of

TRAIN = "method.evaluated=[]"  # what is looked at are the models, and not what they write


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Phases of the iterations that were computed."""
    phases: list[str] = []
    original = Monitor.iteration_end

    def iteration_end(self: Monitor, *args: object) -> None:
        phases.append(self.phase)
        original(self, *args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Monitor, "iteration_end", iteration_end)
    return phases


def test_a_run_says_which_weights_it_started_from(model: Path, finished: Path) -> None:
    phases = {p["phase"]: p for p in summary_of(finished)["phases"]}
    assert phases["base"]["fingerprint"] == fingerprint(model)
    assert phases["sft"]["started_from"] == fingerprint(model)
    assert phases["sft"]["fingerprint"] == fingerprint(phases["sft"]["checkpoint"])
    assert phases["grpo"]["started_from"] == phases["sft"]["fingerprint"]
    assert phases["grpo"]["fingerprint"] == fingerprint(phases["grpo"]["checkpoint"])
    assert phases["grpo"]["fingerprint"] != phases["sft"]["fingerprint"]
    greedy = "greedy, at most 16 tokens"
    assert summary_of(finished)["decoding"] == dict.fromkeys(("base", "sft", "grpo"), greedy)


def test_jobs_that_differ_in_rl_share_the_supervised_stage(
    model: Path, tmp_path: Path, trained: list[str]
) -> None:
    one = start(model, tmp_path, TRAIN, name="one")
    two = start(model, tmp_path, TRAIN, "kl=none", name="two")
    three = start(model, tmp_path, TRAIN, "reward=none", "data.test.seed=7", name="three")
    assert trained.count("sft") == 2
    assert trained.count("grpo") == 4
    stages = [
        next(p for p in summary_of(folder)["phases"] if p["phase"] == "sft")
        for folder in (one, two, three)
    ]
    assert stages[0] == stages[1] == stages[2]
    # Each run's own numbers tell its whole story, the shared stage's included.
    sft = [[row for row in rows_of(f) if row["phase"] == "sft"] for f in (one, two, three)]
    assert sft[0] == sft[1] == sft[2] != []


def test_what_matters_to_the_supervised_stage_makes_another_one(
    model: Path, tmp_path: Path, trained: list[str]
) -> None:
    changes = ("seed=0", "seed=1", "phase.sft.optimizer.lr=0.5", "phase.sft.counts=[2]")
    for number, change in enumerate(changes, start=1):
        start(model, tmp_path, "method=sft", TRAIN, change, name=f"run_{number}")
        assert trained.count("sft") == 2 * number, change
        assert len(list((tmp_path / "cache" / "sft").glob("*.lock"))) == number, change


def test_numbers_of_a_validation_are_kept_with_what_it_was(
    model: Path, tmp_path: Path, trained: list[str]
) -> None:
    every = ("method=sft", TRAIN, "phase.sft.val_every=2")
    numbers = []
    for name, change in (("one", ()), ("two", ()), ("three", ("phase.validate.per_count=1",))):
        folder = start(model, tmp_path, *every, *change, name=name)
        numbers.append([r for r in rows_of(folder) if "val/all/accuracy" in r])
    assert trained.count("sft") == 2 * 2
    assert len(numbers[0]) == 1
    assert numbers[0] == numbers[1]


def _job(model: Path, outputs: Path, name: str) -> None:
    start(model, outputs, TRAIN, "phase.sft.iterations=6", "method=sft", name=name)


@pytest.mark.slow
def test_concurrent_jobs_do_not_both_compute_it(model: Path, tmp_path: Path) -> None:
    jobs = [forked.server().Process(target=_job, args=(model, tmp_path, name)) for name in "ab"]
    with forked.without_main():
        for job in jobs:
            job.start()
    for job in jobs:
        job.join(timeout=120)
        assert job.exitcode == 0
    # With the times: what was computed once is the same to the last digit.
    logged = [(tmp_path / name / "seed_0" / "metrics.jsonl").read_text() for name in "ab"]
    assert logged[0] == logged[1] != ""


def test_a_checkpoint_is_evaluated_to_what_its_own_run_says_of_it(
    finished: Path, tmp_path: Path
) -> None:
    checkpoint = summary_of(finished)["phases"][-1]["checkpoint"]
    alone = start(Path(checkpoint), tmp_path, "method=evaluate", name="alone")
    metrics = summary_of(alone)["metrics"]
    assert set(metrics) == {"name_everybody", "model"}
    assert metrics["model"] == summary_of(finished)["metrics"]["grpo"]
    with pytest.raises(ValueError, match=r"is a run's folder; its models are .*/checkpoints/grpo"):
        start(finished, tmp_path, "method=evaluate", name="refused")
