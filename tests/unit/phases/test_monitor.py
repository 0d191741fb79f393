import copy
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from repic import files
from repic.phases.loggers import JsonlLogger
from repic.phases.monitor import Monitor, combine, load_checkpoint, refuse_other_ranks


def monitor_of(
    folder: Path, *, loggers: list[Any], started_from: str = "sft", learns_from: str | None = None
) -> Monitor:
    return Monitor(
        "grpo",
        started_from=started_from,
        learns_from=learns_from,
        iterations=9,
        checkpoint=folder / "resume.pt",
        checkpoint_every=5,
        val_every=0,
        validate=None,
        loggers=loggers,
        show={},
    )


def module(policy: nn.Module, iteration: int = 5) -> Any:
    state = {"extra_state": dict, "load_extra_state": lambda state: None}
    return SimpleNamespace(policy=policy, iteration=iteration, **state)


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


def saved_twice(folder: Path) -> nn.Linear:
    """Leave checkpoints of iterations 4 and 5; return the policy of the fourth."""
    policy = nn.Linear(2, 2)
    fourth = copy.deepcopy(policy)
    monitor, optimizer = monitor_of(folder, loggers=[]), torch.optim.SGD(policy.parameters())
    monitor.save(module(policy, iteration=4), optimizer)
    with torch.no_grad():
        policy.weight.add_(1.0)
    monitor.save(module(policy), optimizer)
    return fourth


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "foreign": lambda path: torch.save({"weights": {}}, path),
    "a list": lambda path: torch.save([1], path),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Path)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    fourth = saved_twice(tmp_path)
    DAMAGE[damage](tmp_path / "resume.pt")
    policy, monitor = nn.Linear(2, 2), monitor_of(tmp_path, loggers=[])
    assert load_checkpoint(monitor, module(policy)) is not None
    assert monitor.saved == 4
    assert torch.equal(policy.weight, fourth.weight)
    assert f"{tmp_path / 'resume.pt'}: " in caplog.text
    assert "it is now resume.pt.set_aside" in caplog.text
    assert {p.name for p in tmp_path.iterdir()} == {"resume.pt.before", "resume.pt.set_aside"}
    cut(tmp_path / "resume.pt.before")  # now there is none left
    policy = nn.Linear(2, 2)
    given = policy.weight.clone()
    assert load_checkpoint(monitor_of(tmp_path, loggers=[]), module(policy)) is None
    assert torch.equal(policy.weight, given)


def test_a_checkpoint_is_of_the_model_that_the_phase_started_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved_twice(tmp_path)
    monitor = monitor_of(tmp_path, loggers=[])
    load_checkpoint(monitor, module(nn.Linear(2, 2)))
    assert monitor.saved == 5
    other = monitor_of(tmp_path, loggers=[], started_from="b")
    assert load_checkpoint(other, module(nn.Linear(2, 2))) is None
    assert caplog.text.count("was written for another model to start from") == 2
    saved_twice(tmp_path)
    assert load_checkpoint(monitor, module(nn.Linear(2, 2, bias=False))) is None
    assert caplog.text.count("was written for other trainable weights") == 2
    assert len([p for p in tmp_path.iterdir() if "set_aside" in p.name]) == 4


def test_a_checkpoint_is_of_the_data_that_the_phase_learns_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved_twice(tmp_path)
    other = monitor_of(tmp_path, loggers=[], learns_from="an album that was edited")
    assert load_checkpoint(other, module(nn.Linear(2, 2))) is None
    assert caplog.text.count("was written for other data to learn from than there are now") == 2
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters())
    other.save(module(nn.Linear(2, 2)), optimizer)
    assert load_checkpoint(other, module(nn.Linear(2, 2))) is not None


def test_another_number_of_ranks_is_refused_where_masks_are_drawn(tmp_path: Path) -> None:
    policy = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))
    path = tmp_path / "resume.pt"
    refuse_other_ranks(1, policy, path)
    refuse_other_ranks(2, nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), path)
    with pytest.raises(
        ValueError, match=r"resume\.pt: was written by 2 processes, and there are 1"
    ):
        refuse_other_ranks(2, policy, path)


def test_a_phase_that_is_done_keeps_no_checkpoint(tmp_path: Path) -> None:
    saved_twice(tmp_path)
    monitor_of(tmp_path, loggers=[]).forget()
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    policy = nn.Linear(2, 2)
    monitor, optimizer = monitor_of(tmp_path, loggers=[]), torch.optim.SGD(policy.parameters())
    monitor.save(module(policy), optimizer)
    saved = monitor.checkpoint.read_bytes()
    policy.weight.data[0, 1] = float("nan")
    with pytest.raises(ValueError, match=r"after iteration 5 of 9 \(weight\), and were not"):
        monitor.save(module(policy), optimizer)
    assert monitor.checkpoint.read_bytes() == saved


def test_ranks_share_a_machine_s_work_and_have_the_batch_s_numbers_in_common() -> None:
    assert combine("tokens/prompt", [3.0, 4.0]) == 7
    assert combine("time/rollout_s", [3.0, 4.0]) == combine("mfu/update", [3.0, 4.0]) == 3.5
    assert combine("memory/peak_mib", [3.0, 4.0]) == 4
    assert combine("tokens", [3.0, 3.0]) == combine("grpo/reward/total", [3.0, 3.0]) == 3
