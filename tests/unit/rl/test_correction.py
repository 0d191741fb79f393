import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.correction import Correction
from tests.properties import at_most

SHAPE = (3, 5)


def tensors(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ours, its = -torch.rand(2, *SHAPE, generator=generator) * 3
    lengths = torch.randint(1, SHAPE[1] + 1, (SHAPE[0], 1), generator=generator)
    return ours, its, torch.arange(SHAPE[1]) < lengths


@at_most(25)
@given(st.integers(0, 10**6))
def test_below_the_cap_the_mean_under_the_sampler_is_that_under_the_policy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ours, its = torch.rand(2, 4, generator=generator).add(0.1).log().log_softmax(dim=-1)
    values = torch.rand(4, generator=generator)
    every = torch.ones(1, 4, dtype=torch.bool)
    weights = Correction(level="token", cap=1e3).weights(ours[None], its[None], every)[0]
    torch.testing.assert_close((its.exp() * weights * values).sum(), (ours.exp() * values).sum())


@at_most(25)
@given(st.integers(0, 10**6), st.sampled_from(["token", "sequence"]), st.floats(0.5, 3))
def test_no_weight_is_above_the_cap_and_none_hangs_on_padding(seed, level, cap) -> None:
    ours, its, mask = tensors(seed)
    correction = Correction(level=level, cap=cap)
    weights = correction.weights(ours, its, mask)
    assert weights.max() <= cap
    spoilt = its.masked_fill(~mask, torch.nan)
    torch.testing.assert_close(correction.weights(ours, spoilt, mask)[mask], weights[mask])
    if level == "sequence":
        product = (ours - its).masked_fill(~mask, 0).sum(dim=1).exp().clamp(max=cap)
        for row, expected in zip(weights, product, strict=True):
            assert set(row.tolist()) <= {expected.item(), min(1.0, cap)} or torch.allclose(
                row[0], expected
            )


def test_it_has_no_gradient_and_survives_what_is_out_of_bounds() -> None:
    ours = torch.tensor([[0.0, -1e4]], requires_grad=True)
    every = torch.ones(1, 2, dtype=torch.bool)
    weights = Correction(level="token", cap=2.0).weights(ours, torch.tensor([[-1e4, 0.0]]), every)
    assert not weights.requires_grad
    assert weights[0, 0] == 2
    assert 0 < weights[0, 1] < 1e-8
