import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as library
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from repic.models.families import FAMILIES, EncodedImage
from repic.models.vision import attention_by_length, batch_vision_attention
from tests.properties import at_most

Grid = tuple[int, int, int]


def tower(attention: str = "sdpa") -> nn.Module:
    """Three layers, two of which attend in windows of 2 x 2 merged patches."""
    vision = dict(
        depth=3,
        hidden_size=32,
        intermediate_size=48,
        num_heads=2,
        out_hidden_size=24,
        patch_size=4,
        spatial_merge_size=2,
        window_size=16,
        fullatt_block_indexes=[1],
    )
    config = Qwen2_5_VLConfig(text_config={"hidden_size": 24}, vision_config=vision)
    return library.Qwen2_5_VisionTransformerPretrainedModel._from_config(
        config.vision_config, attn_implementation=attention
    )


def pixels(grids: list[Grid]) -> Tensor:
    return torch.randn(sum(t * h * w for t, h, w in grids), 3 * 2 * 4 * 4)


def features(model: nn.Module, grids: list[Grid], patches: Tensor) -> Tensor:
    return model(patches, grid_thw=torch.tensor(grids)).pooler_output


SIDES = st.sampled_from([2, 4, 6, 8, 10])


@at_most(25)
@given(grids=st.lists(st.tuples(st.just(1), SIDES, SIDES), min_size=1, max_size=6))
def test_features_and_gradients_equal_the_original_forward(grids: list[Grid]) -> None:
    torch.manual_seed(len(grids))
    original = tower()
    batched = copy.deepcopy(original)
    assert batch_vision_attention(batched) == 3
    patches = pixels(grids)
    expected, found = features(original, grids, patches), features(batched, grids, patches)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    direction = torch.randn_like(expected)
    (expected * direction).sum().backward()
    (found * direction).sum().backward()
    gradients = dict(batched.named_parameters())
    for name, parameter in original.named_parameters():
        scale = max(1.0, parameter.grad.abs().max().item())
        torch.testing.assert_close(
            gradients[name].grad, parameter.grad, atol=1e-5 * scale, rtol=0, msg=name
        )


def test_one_call_per_distinct_length(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def spy(query: Tensor, *args: Tensor, **kwargs: float) -> Tensor:
        shapes.append(tuple(query.shape))
        return F.scaled_dot_product_attention(query, *args, **kwargs)

    monkeypatch.setattr("repic.models.vision.scaled_dot_product_attention", spy)
    boundaries = torch.tensor([0, 2, 5, 7, 9, 12])
    x = torch.randn(12, 2, 8)
    attention_by_length(x, x, x, boundaries, scaling=1.0)
    assert shapes == [(3, 2, 2, 8), (2, 2, 3, 8)]


def test_attention_worked_by_hand() -> None:
    # Zero queries weigh everything in a segment alike: the result is the segment's mean.
    values = torch.tensor([1.0, 3.0, 10.0, 2.0, 4.0, 9.0]).view(6, 1, 1)
    zeros = torch.zeros(6, 1, 1)
    out = attention_by_length(zeros, values, values, torch.tensor([0, 2, 3, 6]), scaling=1.0)
    assert out.flatten().tolist() == [2.0, 2.0, 10.0, 5.0, 5.0, 5.0]


def test_library_loops_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tower()
    batch_vision_attention(model)
    calls = []
    for name in ("get_vision_window_index", "get_vision_position_ids"):
        original = getattr(library, name)

        def spy(grid_thw: Tensor, *args: int, original=original, **kwargs: dict) -> Tensor:
            calls.append(set(kwargs["kwargs"]))
            return original(grid_thw, *args, **kwargs)

        monkeypatch.setattr(library, name, spy)
    features(model, [(1, 4, 4)] * 5, pixels([(1, 4, 4)] * 5))
    # Both find what they would have computed among the arguments.
    assert "position_ids" in calls[0]
    assert {"window_index", "cu_window_seqlens"} <= calls[1]


def test_another_implementation_is_left_alone() -> None:
    model = tower("eager")
    assert batch_vision_attention(model) == 0
    assert "forward" not in vars(model.blocks[0].attn)


def test_applying_twice_and_copying_is_safe() -> None:
    model = tower()
    batch_vision_attention(model)
    batch_vision_attention(model)
    assert len(model._forward_pre_hooks) == 1
    twin = copy.deepcopy(model)
    # The copy must attend with its own weights.
    assert twin.blocks[0].attn.forward.__self__ is twin.blocks[0].attn


@pytest.mark.parametrize("is_whole", [True, False])
def test_features_of_lower_layers_are_cut_into_pictures_however_they_come(is_whole):
    images = [EncodedImage({}, "", number) for number in (2, 3)]
    own, *layers = (torch.rand(5, 4) for _ in range(3))
    output = BaseModelOutputWithDeepstackFeatures(
        pooler_output=own.split([2, 3]),
        deepstack_features=layers if is_whole else [layer.split([2, 3]) for layer in layers],
    )
    found = FAMILIES["qwen3_vl"].features(output, images)
    assert [len(features) for features in found] == [2, 3]
    torch.testing.assert_close(torch.cat(found), torch.cat([own, *layers], dim=1))
