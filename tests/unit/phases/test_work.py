"""What is logged of an iteration's work, on a device whose peak is made up."""

import logging
from pathlib import Path

import pytest
import torch

from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.phases import work
from repic.phases.work import model_flops, work_done
from repic.types import Example, Rollout
from tests import tiny, tiny_families
from tests.counting import count
from tests.fakes import Noise, example

TIMES = {"rollout": 2.0, "update": 4.0}


def groups_of(one: Example, *lengths: int) -> list[list[Rollout]]:
    """One group, of captions that are so long."""
    return [[Rollout(one, "", torch.ones(n).long(), torch.zeros(n), True) for n in lengths]]


def test_utilization_is_of_what_had_to_be_computed(qwen: Path, monkeypatch) -> None:
    policy = tiny.load(qwen)
    groups, engine = groups_of(example("a", [Noise(1)], Noise(2)), 3, 5), tiny.packed_engine()
    told = work_done(policy, engine, groups, TIMES, has_reference=True, num_updates=3)
    assert not any(key.startswith("mfu/") for key in told)  # a CPU's peak is not known
    assert told["time/rollout_s"] == 2
    needed = model_flops(policy, engine, groups, has_reference=True)
    monkeypatch.setattr(work, "device_peak", lambda policy: 1e6)
    told = work_done(policy, engine, groups, TIMES, has_reference=True, num_updates=3)
    update = 3 * needed["update"] + needed["reference"]
    assert told["mfu/update"] == pytest.approx(update / 4e6)
    assert told["mfu/iteration"] == pytest.approx((update + needed["rollout"]) / 6e6)


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "dropout": 0.0}])
def test_flops_are_those_of_the_forward_pass(llava: Path, lora: dict | None) -> None:
    policy = tiny.load(llava, attention="eager", lora=lora)
    policy.freeze_reference()
    one = example("a", query=Noise(2))
    groups = groups_of(one, 4, 4, 4)
    needed = model_flops(policy, PlainEngine(), groups, has_reference=True)
    assert needed is not None
    pictures = policy.encoder.encode([one]).images
    vision = count(lambda: policy.picture_features(pictures))
    counted = count(lambda: PlainEngine().reference_logprobs(policy, groups[0])) - vision
    # The counter sees masked pairs too, about half of attention's, which is little here.
    assert needed["reference"] < counted < 1.15 * needed["reference"]


@pytest.mark.parametrize("family", ["qwen3_vl", "smolvlm", "gemma3"])
def test_every_family_is_told_its_utilization(tmp_path: Path, monkeypatch, family: str) -> None:
    policy = tiny.load(tiny_families.BUILDERS[family](tmp_path))
    told = told_of(policy, monkeypatch)
    assert 0 < told["mfu/update"] < told["mfu/iteration"] * 3


def test_what_cannot_be_counted_is_left_out(qwen: Path, monkeypatch, caplog) -> None:
    policy = tiny.load(qwen)

    def fail(*_: object, **__: object) -> None:
        raise KeyError("another kind of layer")

    monkeypatch.setattr(work, "ModelCosts", fail)
    with caplog.at_level(logging.INFO):
        told = told_of(policy, monkeypatch)
    assert "time/update_s" in told
    assert not any(key.startswith("mfu/") for key in told)
    assert caplog.text.count("no mfu: what qwen2_5_vl computes cannot be counted") == 1


def told_of(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What is logged of two iterations on a device whose peak is known."""
    monkeypatch.setattr(work, "device_peak", lambda policy: 1e6)
    groups, engine = groups_of(example("a", [Noise(1)], Noise(2)), 3, 5), tiny.packed_engine()
    work_done(policy, engine, groups, TIMES, has_reference=True, num_updates=1)
    return work_done(policy, engine, groups, TIMES, has_reference=True, num_updates=1)
