"""What is logged of an iteration's work, on a device whose peak is made up."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from repic.bench.paper import make_network
from repic.models.costs import PACKED, PLAIN, Scheme
from repic.models.engine.plain import PlainEngine
from repic.models.memory import StepPlan, Training, training_of
from repic.models.policy import Policy
from repic.phases import work
from repic.phases.work import model_flops, refuse_too_large, what_to_lower, work_done
from repic.types import Example, Rollout
from tests import tiny, tiny_families
from tests.counting import PAPER, count
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


GIB = 2**30
PLAN = StepPlan(
    prompts=4,
    group_size=8,
    prompt_tokens=2500,
    caption_tokens=128,
    micro_batch_tokens=16384,
    training=Training(lora_rank=64, has_reference=True, is_checkpointed=False, weight_bytes=2),
    scheme=PACKED,
)


@pytest.fixture(scope="module")
def seven_billion() -> Any:
    return make_network(PAPER["models"]["qwen2_5_vl_7b"], lora_rank=64)


def test_what_does_not_fit_is_refused_with_what_to_lower(seven_billion: Any) -> None:
    policy: Any = SimpleNamespace(network=seven_billion)
    refuse_too_large(policy, PLAN, 200 * GIB, where="cuda:0")
    told = (
        "grpo does not fit into the 139.0 GiB of cuda:0: its update takes about 153.3 GiB (weights"
        " 16.0, gradients and Adam's moments 1.8, activations 133.1, logits 2.3) for 4 × 8 captions"
        " of up to 128 tokens behind prompts of 2500; lower phase.grpo.micro_batch_tokens from"
        " 16384 to 10572, with which it takes 119.4 GiB"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        refuse_too_large(policy, PLAN, 139 * GIB, where="cuda:0")


@pytest.mark.parametrize(
    ("gib", "told"),
    [
        (40, "set model.gradient_checkpointing=true, with which it takes 27.6 GiB"),
        (
            24,
            "set model.gradient_checkpointing=true, and lower phase.grpo.micro_batch_tokens from"
            " 16384 to 7048, with which it takes 22.7 GiB",
        ),
        (
            16,
            "with micro-batches of one caption and gradient checkpointing it still does not; what"
            " may help: a larger device, a lower model.max_pixels or"
            " phase.grpo.sampling.max_new_tokens",
        ),
    ],
)
def test_the_setting_that_costs_least_is_named(seven_billion: Any, gib: int, told: str) -> None:
    assert what_to_lower(seven_billion, PLAN, gib * GIB) == told


def test_a_rollout_that_does_not_fit(seven_billion: Any) -> None:
    training = replace(PLAN.training, is_checkpointed=True)
    many = replace(PLAN, prompts=20, prompt_tokens=20_000, training=training, scheme=PLAIN)
    policy: Any = SimpleNamespace(network=seven_billion)
    with pytest.raises(ValueError, match=r"its rollout takes .*keys and values 172\.0\)") as told:
        refuse_too_large(policy, many, 139 * GIB, where="cuda:0")
    assert str(told.value).endswith(
        "; lower phase.grpo.prompts from 20 to 14, with which it takes 137.6 GiB"
    )


@pytest.mark.parametrize("tokens", [1, 23, 40, 61, 62, 123, 10**6])
@pytest.mark.parametrize("scheme", [PACKED, PLAIN])
def test_a_plan_cuts_micro_batches_as_the_engine_does(
    qwen: Path, tokens: int, scheme: Scheme
) -> None:
    policy = tiny.load(qwen)
    examples = [example(str(i), [Noise(i)], Noise(9 + i)) for i in range(3)]
    plan = replace(
        PLAN,
        prompts=3,
        group_size=4,
        prompt_tokens=len(policy.encoder.prompts(examples)[0].input_ids),
        caption_tokens=6,
        micro_batch_tokens=tokens,
        scheme=scheme,
    )
    captions = [group for one in examples for group in groups_of(one, 6, 6, 6, 6)[0]]
    engine = tiny.packed_engine() if scheme is PACKED else PlainEngine()
    largest = 0
    for span in engine.split(policy, captions, max_tokens=tokens):
        engine.meter.take()
        with torch.no_grad():
            scored = engine.logprobs(policy, captions[span])
        took = engine.meter.take()
        largest = max(largest, int(took["tokens/prompt"] + took["tokens/completion"]))
        assert scored.mask.sum() <= plan.micro_batch.predicted
    assert plan.micro_batch.tokens == largest


def test_training_is_read_off_the_policy(qwen: Path) -> None:
    lora = {"r": 4, "alpha": 8, "dropout": 0.0}
    for options, expected in (
        ({"lora": lora, "gradient_checkpointing": True}, Training(4, True, True, 4)),
        ({"dtype": "bfloat16"}, Training(None, True, False, 2)),
    ):
        assert training_of(tiny.load(qwen, **options), has_reference=True) == expected
