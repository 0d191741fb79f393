"""Schedules, seeds, and which examples an iteration gets."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.data.module import IterationBatches
from repic.phases.randomness import seed_torch, stream_seed
from repic.phases.schedule import warmup_cosine, warmup_linear


@pytest.mark.parametrize("schedule", [warmup_cosine, warmup_linear])
@given(total=st.integers(1, 50), warmup=st.floats(0, 1), final=st.floats(0, 1))
def test_a_schedule_stays_between_its_ends(
    schedule: Callable[..., float], total: int, warmup: float, final: float
) -> None:
    factors = [schedule(i, total, warmup=warmup, final=final) for i in range(total)]
    assert all(0 <= f <= 1 for f in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_a_schedule_by_hand() -> None:
    factors = [warmup_cosine(i, 6, warmup=1 / 3, final=0.2) for i in range(6)]
    # two steps up, then 0.2 + 0.8 · (1 + cos(π p)) / 2 at p = 0, 1/4, 1/2, 3/4
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.88284, 0.6, 0.31716], abs=1e-5)
    factors = [warmup_linear(i, 6, warmup=1 / 3, final=0.2) for i in range(6)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.8, 0.6, 0.4])


def test_seeds_differ_by_seed_purpose_and_counter() -> None:
    seeds = {stream_seed(s, p, i) for s in range(5) for p in ("sft", "grpo") for i in range(50)}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)


def batches(size: int, iterations: tuple[int, int], **options: object) -> list[list[int]]:
    given = {"batch_size": 4, "micro_batch": 2, "rank": (0, 1), "seed": 0, **options}
    return list(IterationBatches(size, iterations=iterations, **given))  # pyright: ignore


def test_the_first_epoch_is_the_dataset_s_own_order() -> None:
    assert batches(100, (0, 2)) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@given(st.integers(1, 20), st.integers(0, 6), st.integers(0, 3))
def test_a_resumed_order_is_the_rest_of_the_whole_one(size: int, start: int, seed: int) -> None:
    whole = batches(size, (0, 6), seed=seed)
    assert batches(size, (start, 6), seed=seed) == whole[2 * start :]


@given(st.integers(1, 20))
def test_every_epoch_has_every_example_once(size: int) -> None:
    flat = [i for batch in batches(size, (0, 15)) for i in batch]
    for first in range(0, len(flat) - size + 1, size):
        assert sorted(flat[first : first + size]) == list(range(size))


def test_later_epochs_come_in_another_order() -> None:
    flat = [i for batch in batches(20, (0, 10)) for i in batch]
    assert flat[:20] != flat[20:]


def test_ranks_share_an_iteration_out() -> None:
    one = batches(100, (3, 4), micro_batch=2, rank=(0, 2))
    two = batches(100, (3, 4), micro_batch=2, rank=(1, 2))
    assert sorted(one[0] + two[0]) == [12, 13, 14, 15]
    assert len(one) == len(two) == 1


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 4 is not a multiple of micro_batch 3 × 1"):
        batches(10, (0, 1), micro_batch=3)
    with pytest.raises(ValueError, match="no examples"):
        batches(0, (0, 1))


def test_torch_is_seeded_as_by_itself() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    seed_torch(7, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
