"""Shapes that annotations state are checked while the tests run."""

import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from repic.models.engine.logprobs import token_logprobs
from repic.rl.advantages import refuse_lone


def test_a_wrong_shape_is_noticed() -> None:
    rewards = torch.rand(2, 3, 4)
    refuse_lone(rewards)
    for others in (rewards[0], rewards.long(), rewards.tolist()):
        with pytest.raises(TypeCheckError, match="refuse_lone"):
            refuse_lone(others)
    logits, ids = torch.zeros(2, 5), torch.zeros(2).long()
    token_logprobs(logits, ids)
    with pytest.raises(TypeCheckError, match="token_logprobs"):
        token_logprobs(logits, ids[:1])


def test_the_modules_that_state_shapes_are_checked_and_no_others() -> None:
    modules = {n: m for n, m in sys.modules.items() if n.startswith("repic.") and m.__file__}
    checked = {n for n, m in modules.items() if "Jaxtyping" in type(m.__loader__).__name__}
    states = {n for n, m in modules.items() if "jaxtyping" in Path(m.__file__).read_text("utf-8")}
    assert checked == states
    assert {"repic.rl.advantages", "repic.models.engine.logprobs"} <= checked
