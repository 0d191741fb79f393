"""Attention inside groups against one masked attention over the whole row: the definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from repic.models.encoder import EncodedPrompt
from repic.models.engine import attention, kernels
from repic.models.engine.attention import group_attention, install
from repic.models.engine.packing import Group, PackedRow, pack
from tests.properties import at_most

SCALE = 0.3


def row_of(groups: list[tuple[int, list[int]]], device: str = "cpu") -> PackedRow:
    """Lay out groups of given prompt and caption lengths."""
    return pack(
        [
            Group(
                EncodedPrompt("", torch.arange(prompt), torch.arange(prompt)[None], ()),
                tuple(torch.arange(n) for n in lengths),
            )
            for prompt, lengths in groups
        ],
        image_token_id=-1,
        device=torch.device(device),
    )


def sees(groups: list[tuple[int, list[int]]]) -> Tensor:
    """[L, L]: True where a token sees another, written down token by token."""
    tokens = [
        (group, caption, place)
        for group, (prompt, lengths) in enumerate(groups)
        for caption, length in enumerate([prompt, *lengths])
        for place in range(length)
    ]
    return torch.tensor(
        [
            [
                group == other and (owner == 0 or (owner == caption and place <= at))
                if caption
                else group == other and owner == 0 and place <= at
                for other, owner, place in tokens
            ]
            for group, caption, at in tokens
        ]
    )


def masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=SCALE)
    return out.transpose(1, 2)


def tensors(length: int, heads: int, kv_heads: int, seed: int = 0, size: int = 8) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [
        torch.randn(1, h, length, size, generator=draw, dtype=torch.float64).requires_grad_()
        for h in (heads, kv_heads, kv_heads)
    ]


groups_of_any_size = st.lists(
    st.tuples(st.integers(1, 12), st.lists(st.integers(0, 6), max_size=5)), min_size=1, max_size=3
)


@pytest.mark.parametrize("has_kernel", [True, False])
@at_most(40)
@given(groups=groups_of_any_size, heads=st.sampled_from([(1, 1), (4, 2), (6, 1)]))
def test_groups_attend_as_the_mask_says(has_kernel, groups, heads):
    row = row_of(groups)
    length = row.input_ids.shape[1]
    inputs = tensors(length, *heads)
    expected = masked(*inputs, sees(groups))
    weights = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).view_as(expected)
    wanted = torch.autograd.grad((weights * expected).sum(), inputs)
    with pytest.MonkeyPatch.context() as patch:
        if not has_kernel:
            patch.setattr(attention, "kernel_for", lambda query: None)
        found = group_attention(*inputs, row.spans, scale=SCALE)
        got = torch.autograd.grad((weights * found).sum(), inputs)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    for have, want in zip(got, wanted, strict=True):
        torch.testing.assert_close(have, want, atol=1e-10, rtol=0)


def test_the_gradient_is_that_of_finite_differences():
    row = row_of([(3, [2, 4]), (2, [3])])
    inputs = tensors(row.input_ids.shape[1], 2, 1, size=2)
    torch.autograd.gradcheck(lambda *x: group_attention(*x, row.spans, scale=SCALE), inputs)


def test_large_scores_behind_a_caption_s_end_make_no_nan():
    # The first caption's row is filled up to the second's length with its own first token, whose
    # score against itself is far above the normalizer of the token that it repeats.
    row = row_of([(2, [2, 9])])
    inputs = tensors(row.input_ids.shape[1], 1, 1)
    with torch.no_grad():
        for x in inputs[:2]:
            x.mul_(60)
            x[:, :, 3] *= -1
    found = group_attention(*inputs, row.spans, scale=SCALE)
    gradients = torch.autograd.grad(found.square().sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_two_captions_by_hand():
    # All scores are alike, so a token sees the mean of the values that it may look at.
    row = row_of([(2, [1, 2])])
    values = torch.tensor([1.0, 3.0, 8.0, 5.0, 7.0])
    zeros = torch.zeros(1, 1, 5, 1)
    out = group_attention(zeros, zeros, values[None, None, :, None], row.spans, scale=1.0)
    assert out.flatten().tolist() == pytest.approx([1, 2, 4, 3, 4])


def test_installing_twice_changes_nothing_more():
    install("sdpa")
    once = ALL_ATTENTION_FUNCTIONS["sdpa"]
    install("sdpa")
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is once


def test_packing_by_hand():
    prompt = EncodedPrompt("", torch.tensor([7, 9, 9]), torch.tensor([[0, 1, 1], [0, 1, 4]]), ())
    other = EncodedPrompt("", torch.tensor([5]), torch.zeros(2, 1, dtype=torch.long), ())
    captions = (torch.tensor([20, 9]), torch.tensor([], dtype=torch.long), torch.tensor([30]))
    row = pack(
        [Group(prompt, captions), Group(other, (torch.tensor([40]),))],
        image_token_id=9,
        device=torch.device("cpu"),
    )
    assert row.input_ids.tolist() == [[7, 9, 9, 20, 9, 30, 5, 40]]
    # Captions count on from the largest position of their prompt, on every axis.
    assert row.position_ids[1, 0].tolist() == [0, 1, 4, 5, 6, 5, 0, 1]
    assert row.position_ids[0, 0].tolist() == [0, 1, 1, 5, 6, 5, 0, 1]
    # The placeholder in a caption stands for no picture.
    assert row.image_mask[0].tolist() == [False, True, True, *[False] * 5]
    # Three tokens, one and two in the first group's captions, two in the second's.
    assert row.sources.tolist() == [2, 3, 4, 2, 2, 5, 6, 7]
    assert row.spans[0].lengths == (2, 1)
    # An only caption is a piece with its prompt.
    assert (row.spans[1].prompt, row.spans[1].lengths) == (slice(6, 8), ())


@pytest.mark.parametrize("lengths", [[9, 40, 1], [16, 16]])
def test_the_gpu_s_kernel_is_called_with_what_it_takes(lengths, monkeypatch):
    # Without a GPU and without numbers torch holds calls to the kernels' signatures and shapes.
    kernel = kernels.Kernel(kernels._cuda_forward, kernels._cuda_backward)
    monkeypatch.setattr(attention, "kernel_for", lambda _: kernel)
    row = row_of([(70, lengths)], device="meta")
    length, kind = row.input_ids.shape[1], {"dtype": torch.bfloat16, "device": "meta"}
    given = [torch.empty(1, n, length, 64, **kind, requires_grad=True) for n in (8, 2, 2)]
    found = group_attention(*given, row.spans, scale=SCALE)
    assert found.shape == (1, length, 8, 64)
    gradients = torch.autograd.grad(found.sum(), given)
    assert [x.shape for x in gradients] == [x.shape for x in given]


@pytest.mark.gpu
@pytest.mark.parametrize("heads", [(4, 4), (8, 2)])
def test_the_gpu_s_kernel_attends_as_the_mask_says(heads):
    groups = [(70, [9, 40, 1]), (130, [16, 16])]
    row = row_of(groups, device="cuda")
    exact = [x.detach().cuda() for x in tensors(row.input_ids.shape[1], *heads, size=64)]
    half = [x.bfloat16().requires_grad_() for x in exact]
    assert attention.kernel_for(half[0]) is not None
    found = group_attention(*half, row.spans, scale=SCALE)
    exact = [x.detach().double().requires_grad_() for x in half]
    expected = masked(*exact, sees(groups).cuda())
    torch.testing.assert_close(found.double(), expected, atol=2e-2, rtol=2e-2)
    got = torch.autograd.grad(found.float().square().sum(), half)
    wanted = torch.autograd.grad(expected.square().sum(), exact)
    for have, want in zip(got, wanted, strict=True):
        torch.testing.assert_close(have.double(), want, atol=5e-2, rtol=5e-2)
