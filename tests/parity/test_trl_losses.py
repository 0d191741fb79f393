"""Our losses and gradients against TRL's: always with its recorded ones, live where it is there."""

import json
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from repic.rl.kl import kl_penalty
from repic.rl.losses import cispo_loss, grpo_loss, gspo_loss, token_weights
from tests.parity.trl_losses import CASES, CLIP, FILE, MAX_TOKENS, inputs, trl_loss

RECORD = json.loads(FILE.read_text(encoding="utf-8"))
# TRL clamps nothing where we do, and nothing here comes near: what is left is rounding.
TOLERANCE = 1e-12


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def recorded_inputs() -> dict[str, Tensor]:
    given = {name: torch.tensor(values) for name, values in RECORD["inputs"].items()}
    return {**given, "mask": given["mask"].bool()}


def our_loss(name: str, given: dict[str, Tensor]) -> tuple[float, Tensor]:
    """The same as TRL's ``CASES[name]``, in our words."""
    case = {**CLIP, "level": "token", "beta": 0.0, "truncated": (), **CASES[name]}
    mask = given["mask"].clone()
    mask[list(case["truncated"])] = False
    weights = token_weights(
        mask,
        aggregation={"grpo": "sequence_mean", "dr_grpo": "constant"}.get(
            case["loss_type"], "token_mean"
        ),
        num_sequences=len(mask),
        num_tokens=int(mask.sum()),
        max_tokens=MAX_TOKENS,
    )
    logprobs = given["logprobs"].clone().requires_grad_()
    old = None if case.get("on_policy") else given["old_logprobs"]
    loss = objective(case)(logprobs, old, given["advantages"], weights).loss
    kl = kl_penalty(logprobs, given["ref_logprobs"], weights, estimator="k3").penalty
    loss = loss + case["beta"] * kl
    return loss.item(), torch.autograd.grad(loss, logprobs)[0]


def objective(case: dict[str, Any]) -> Any:
    clip = {"clip_eps_low": case["epsilon_low"], "clip_eps_high": case["epsilon_high"]}
    if case["loss_type"] == "cispo":
        clip = {"clip_eps_low": 1.0, "clip_eps_high": case["epsilon_high"] - 1.0}
        return partial(cispo_loss, **clip)
    return partial(gspo_loss if case["level"] == "sequence" else grpo_loss, **clip)


def differences(name: str, given: dict[str, Tensor], theirs: tuple[float, Any]) -> list[float]:
    """Largest differences of loss and gradient."""
    loss, gradient = our_loss(name, given)
    expected = torch.tensor(theirs[1])
    assert expected.abs().max() > 1e-3  # there is something to compare
    return [abs(loss - theirs[0]), (gradient - expected).abs().max().item()]


@pytest.mark.parametrize("name", CASES)
def test_parity_with_recorded_losses(name: str) -> None:
    case = RECORD["cases"][name]
    found = differences(name, recorded_inputs(), (case["loss"], case["gradient"]))
    assert max(found) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_parity_with_trl(name: str) -> None:
    pytest.importorskip("trl")
    given = inputs()
    assert max(differences(name, given, trl_loss(CASES[name], given))) < TOLERANCE


def test_the_cases_are_different_ones() -> None:
    """Apart from BNPO, which is DAPO on one batch; and some tokens are clipped in each."""
    losses = [RECORD["cases"][name]["loss"] for name in CASES if name != "bnpo"]
    assert len(set(losses)) == len(losses)
    given = recorded_inputs()
    weights = given["mask"].double()
    for name in CASES:
        old = None if CASES[name].get("on_policy") else given["old_logprobs"]
        case = {**CLIP, "level": "token", **CASES[name]}
        result = objective(case)(given["logprobs"], old, given["advantages"], weights)
        assert (result.num_clipped > 0) == (old is not None), name
