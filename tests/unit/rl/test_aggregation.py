import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.aggregation import AGGREGATIONS, token_weights

MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])
SIZES = {"num_sequences": 2, "num_tokens": 4, "max_tokens": 8}
every = pytest.mark.parametrize("aggregation", AGGREGATIONS)


@pytest.mark.parametrize(
    ("aggregation", "long", "short"),
    [
        ("sequence_mean", 1 / 6, 1 / 2),  # a half for each caption, shared by its tokens
        ("token_mean", 1 / 4, 1 / 4),
        ("constant", 1 / 16, 1 / 16),
    ],
)
def test_token_weights_by_hand(aggregation: str, long: float, short: float) -> None:
    expected = torch.tensor([[long, long, long, 0], [short, 0, 0, 0]])
    torch.testing.assert_close(token_weights(MASK, aggregation=aggregation, **SIZES), expected)


@every
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_micro_batches_have_the_weights_of_the_whole(aggregation: str, rows: list) -> None:
    mask = torch.tensor(rows)
    tokens = max(1, int(mask.sum()))
    sizes = {"num_sequences": len(rows), "num_tokens": tokens, "max_tokens": 5}
    whole = token_weights(mask, aggregation=aggregation, **sizes)
    parts = [token_weights(row[None], aggregation=aggregation, **sizes) for row in mask]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert whole[~mask].eq(0).all()
    assert whole[mask].gt(0).all()
    assert whole.isfinite().all()
    assert whole.sum() <= 1 + 1e-6


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean"])
def test_weights_of_a_whole_batch_sum_to_one(aggregation: str) -> None:
    assert token_weights(MASK, aggregation=aggregation, **SIZES).sum().item() == pytest.approx(1)


def test_unknown_aggregation_is_named() -> None:
    with pytest.raises(ValueError, match="'mean' is not one of sequence_mean, token_mean"):
        token_weights(MASK, aggregation="mean", **SIZES)
