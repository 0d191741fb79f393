import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.models.engine.sampling import Sampling, rollout_uniforms, sample_tokens
from tests.fakes import example
from tests.tiny import sampling

PROBS = torch.tensor([0.1, 0.4, 0.2, 0.3])


def frequencies(setting: Sampling, probs: torch.Tensor = PROBS) -> list[float]:
    """Share of each token over a fine grid of random numbers: exact up to the grid's step."""
    grid = (torch.arange(10000, dtype=torch.float64) + 0.5) / 10000
    tokens = sample_tokens(probs.log().expand(len(grid), -1), grid, setting)
    return (tokens.bincount(minlength=len(probs)) / len(grid)).tolist()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 9}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_p": 0.65}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"top_p": 0.01}, [0, 1, 0, 0]),
        # Shares are of what top-k leaves: the likeliest token has 4/9 of it, and that is enough.
        ({"top_k": 3, "top_p": 0.44}, [0, 1, 0, 0]),
        # 0.45 of the likeliest is 0.18.
        ({"min_p": 0.45}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"min_p": 0.8}, [0, 1, 0, 0]),
        ({"min_p": 1.0, "temperature": 2.0}, [0, 1, 0, 0]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        ({"temperature": 0.0}, [0, 1, 0, 0]),
    ],
)
def test_tokens_are_drawn_in_proportion(changes: dict, expected: list[float]) -> None:
    assert frequencies(sampling(**changes)) == pytest.approx(expected, abs=2e-4)


def test_every_row_has_its_own_number_and_logits() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    numbers = torch.tensor([0.2, 0.9, 0.9])
    assert sample_tokens(logits, numbers, sampling()).tolist() == [0, 1, 0]


@given(
    logits=st.lists(st.floats(-30, 30) | st.just(-float("inf")), min_size=1, max_size=9),
    number=st.floats(0, 1, exclude_max=True),
    top_p=st.floats(0.1, 1),
    top_k=st.integers(0, 4),
    min_p=st.floats(0, 1),
)
def test_an_impossible_token_is_never_drawn(
    logits: list[float], number: float, top_p: float, top_k: int, min_p: float
) -> None:
    row = torch.tensor([[*logits, 0.0, -float("inf")]])
    numbers = torch.tensor([number], dtype=torch.float64)
    (token,) = sample_tokens(row, numbers, sampling(top_p=top_p, top_k=top_k, min_p=min_p)).tolist()
    assert row[0, token] > -float("inf")


def test_numbers_follow_from_seed_id_and_place_alone() -> None:
    alone = rollout_uniforms([example("b")], group_size=2, length=3, seed=5)
    batch = rollout_uniforms([example("a"), example("b")], group_size=3, length=6, seed=5)
    assert torch.equal(batch[3:5, :3], alone)
    other = rollout_uniforms([example("b")], group_size=2, length=3, seed=6)
    rows = torch.cat([batch[:, :3], other])
    assert len({tuple(row) for row in rows.tolist()}) == 8
    assert bool(((rows >= 0) & (rows < 1)).all())


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"min_p": 1.1},
        {"max_new_tokens": 0},
        {"stop": "a text and no list"},
        {"stop": [""]},
    ],
)
def test_a_setting_out_of_range_is_named(changes: dict) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=f"sampling.{name}"):
        sampling(**changes)
