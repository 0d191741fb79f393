"""Which of several processes this one is, from what srun says."""

import os

import pytest

from repic import ranks

# As Slurm 22.05 has said it, of the third task of two nodes with two each.
STEP = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
}  # fmt: skip


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the process finds; changed here, not in the tests' own environment."""
    found = dict(STEP)
    monkeypatch.setattr(os, "environ", found)
    return found


def test_a_step_of_several_tasks_is_as_torchrun_would_have_started_it(said: dict[str, str]) -> None:
    ranks.take_from_slurm()
    told = said.keys() - STEP.keys() - {"PYTEST_CURRENT_TEST"}
    assert {key: said[key] for key in told} == {
        "RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "gpu03", "MASTER_PORT": "20113",
    }  # fmt: skip
    assert ranks.rank() == 2
    assert ranks.are_named()


@pytest.mark.parametrize(
    "changes",
    [
        {"RANK": "0"},  # torchrun, which srun has started
        {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_STEP_NUM_TASKS": None},  # a batch script, whose job has four tasks
    ],
)
def test_whoever_is_alone_or_has_a_rank_is_left_alone(
    said: dict[str, str], changes: dict[str, str | None]
) -> None:
    said |= {key: value for key, value in changes.items() if value is not None}
    for key in [key for key, value in changes.items() if value is None]:
        del said[key]
    before = dict(said)
    ranks.take_from_slurm()
    assert said == before
    assert not ranks.are_named()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu03,gpu04", "gpu03"), ("gpu[03-04,7],big1", "gpu03"), ("gpu[3,5]", "gpu3"),
        ("a-b[10-12]", "a-b10"), ("one", "one"),
    ],
)  # fmt: skip
def test_ranks_meet_at_the_first_machine(said: dict[str, str], nodes: str, first: str) -> None:
    said["SLURM_STEP_NODELIST"] = nodes
    ranks.take_from_slurm()
    assert said["MASTER_ADDR"] == first


def test_ranks_of_one_machine_meet_at_home_and_steps_have_ports_of_their_own(
    said: dict[str, str],
) -> None:
    said |= {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "4"}
    ranks.take_from_slurm()
    assert said["MASTER_ADDR"] == "127.0.0.1"
    first = said["MASTER_PORT"]
    for key in ("RANK", "MASTER_PORT"):
        del said[key]
    said["SLURM_STEP_ID"] = "2"
    ranks.take_from_slurm()
    assert said["MASTER_PORT"] != first


def test_machines_with_different_numbers_of_tasks_are_refused(said: dict[str, str]) -> None:
    said["SLURM_STEP_TASKS_PER_NODE"] = "3,1"
    with pytest.raises(ValueError, match="3,1 is not the same on all nodes; ask for --ntasks-per"):
        ranks.take_from_slurm()
    assert "RANK" not in said
