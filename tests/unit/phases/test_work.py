"""What is logged of an iteration's work, on a device whose peak is made up."""

from pathlib import Path

import pytest
import torch

from repic.models.engine.plain import PlainEngine
from repic.phases import work
from repic.phases.work import model_flops, work_done
from repic.types import Rollout
from tests import tiny
from tests.counting import count
from tests.fakes import Noise, example


def test_utilization_is_of_what_had_to_be_computed(tmp_path: Path, monkeypatch) -> None:
    policy = tiny.load(tiny.build_qwen(tmp_path))
    one = example("a", [Noise(1)], Noise(2))
    groups = [[Rollout(one, "", torch.ones(n).long(), torch.zeros(n), True) for n in (3, 5)]]
    engine = tiny.packed_engine()
    times = {"rollout": 2.0, "update": 4.0}
    told = work_done(policy, engine, groups, times, has_reference=True, num_updates=3)
    assert not any(key.startswith("mfu/") for key in told)  # a CPU's peak is not known
    assert told["time/rollout_s"] == 2
    needed = model_flops(policy, engine, groups, has_reference=True)
    monkeypatch.setattr(work, "device_peak", lambda policy: 1e6)
    told = work_done(policy, engine, groups, times, has_reference=True, num_updates=3)
    update = 3 * needed["update"] + needed["reference"]
    assert told["mfu/update"] == pytest.approx(update / 4e6)
    assert told["mfu/iteration"] == pytest.approx((update + needed["rollout"]) / 6e6)


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "dropout": 0.0}])
def test_flops_are_those_of_the_forward_pass(tmp_path: Path, lora: dict | None) -> None:
    policy = tiny.load(tiny.build_llava(tmp_path), attention="eager", lora=lora)
    policy.freeze_reference()
    one = example("a", query=Noise(2))
    groups = [[Rollout(one, "", torch.ones(4).long(), torch.zeros(4), True) for _ in range(3)]]
    needed = model_flops(policy, PlainEngine(), groups, has_reference=True)["reference"]
    pictures = policy.encoder.encode([one]).images
    vision = count(lambda: policy.picture_features(pictures))
    counted = count(lambda: PlainEngine().reference_logprobs(policy, groups[0])) - vision
    # The counter sees masked pairs too, about half of attention's, which is little here.
    assert needed < counted < 1.15 * needed
