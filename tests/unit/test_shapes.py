"""Shapes that annotations state are checked while the tests run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from repic.metrics.statistics import cluster_sums
from repic.models.positions import num_tokens, plain_positions
from repic.rl.advantages import rloo_advantages


def test_a_wrong_shape_is_noticed() -> None:
    rewards, weights = torch.rand(2, 3, 4), torch.ones(4)
    assert rloo_advantages(rewards, weights).shape == (2, 3)
    for others in ((rewards[0], weights), (rewards, weights[:3]), (rewards.long(), weights)):
        with pytest.raises(TypeCheckError, match="rloo_advantages"):
            rloo_advantages(*others)


def test_every_module_that_states_shapes_is_checked() -> None:
    with pytest.raises(TypeCheckError, match="cluster_sums"):
        cluster_sums([[1.0]], ["a"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeCheckError, match="num_tokens"):
        plain_positions([num_tokens("3")])  # pyright: ignore[reportArgumentType]
