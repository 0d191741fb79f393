from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from repic import files
from repic.phases.loggers import JsonlLogger
from repic.phases.monitor import Monitor, load_checkpoint


def monitor_of(folder: Path, *, loggers: list[Any], started_from: str = "sft") -> Monitor:
    return Monitor(
        "grpo",
        started_from=started_from,
        iterations=9,
        checkpoint=folder / "resume.pt",
        checkpoint_every=5,
        val_every=0,
        validate=None,
        loggers=loggers,
        show={},
    )


def module(policy: nn.Module) -> Any:
    state = {"extra_state": dict, "load_extra_state": lambda state: None}
    return SimpleNamespace(policy=policy, iteration=5, **state)


def test_a_resumed_phase_sends_no_iteration_twice(tmp_path: Path) -> None:
    class Sent:
        def __init__(self) -> None:
            self.steps: list[int] = []

        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            self.steps.append(step)

    sent, lines = Sent(), JsonlLogger(tmp_path / "metrics.jsonl", "grpo")
    for first, last in ((0, 8), (5, 9)):  # interrupted after 8, when 5 was saved
        monitor = monitor_of(tmp_path, loggers=[lines, cast(Any, sent)])
        monitor.logged = lines.keep(first)
        for iteration in range(first + 1, last + 1):
            monitor.log({"loss": 1.0}, iteration)
    assert sent.steps == [*range(1, 10)]
    assert [row["iteration"] for row in files.read_lines(lines.path)] == [*range(1, 10)]


def test_a_checkpoint_is_of_the_model_that_the_phase_started_from(tmp_path: Path) -> None:
    policy = nn.Linear(2, 2)
    monitor_of(tmp_path, loggers=[]).save(module(policy), torch.optim.SGD(policy.parameters()))
    monitor = monitor_of(tmp_path, loggers=[])
    load_checkpoint(monitor, module(nn.Linear(2, 2)))
    assert monitor.saved == 5
    with pytest.raises(ValueError, match=r"resume.pt: was written for another model to start from"):
        load_checkpoint(monitor_of(tmp_path, loggers=[], started_from="b"), module(policy))
    with pytest.raises(ValueError, match=r"resume.pt: was written for other trainable weights"):
        load_checkpoint(monitor, module(nn.Linear(2, 2, bias=False)))
