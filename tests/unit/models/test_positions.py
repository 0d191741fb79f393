import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, Qwen2_5_VLModel

from repic.models.positions import Segment, mrope_positions, plain_positions
from tests.properties import at_most

PICTURE = st.tuples(st.integers(1, 4), st.integers(1, 4))
# A text lies between any two pictures, as the chat template's marks do.
SEGMENTS = st.lists(st.tuples(st.integers(1, 5), PICTURE), max_size=4)


@at_most(30)
@given(pairs=SEGMENTS, tail=st.integers(1, 3), padding=st.integers(0, 3))
def test_positions_equal_the_library(
    pairs: list[tuple[int, tuple[int, int]]], tail: int, padding: int
) -> None:
    segments: list[Segment] = [part for pair in pairs for part in pair] + [tail]
    kinds = torch.cat(
        [torch.ones(s).flatten() if isinstance(s, tuple) else torch.zeros(s) for s in segments]
    )
    kinds = kinds.long()
    grids = [[1, 2 * rows, 2 * columns] for _, (rows, columns) in pairs]
    padded = torch.cat([torch.zeros(padding, dtype=torch.long), kinds])[None]
    mask = torch.cat([torch.zeros(padding), torch.ones(len(kinds))])[None]
    expected, _ = LIBRARY.get_rope_index(
        padded, padded.int(), image_grid_thw=torch.tensor(grids), attention_mask=mask
    )
    assert torch.equal(mrope_positions(segments), expected[:, 0, padding:])


class _Library:
    """The one method, without a model around it."""

    def __init__(self) -> None:
        self.config = AutoConfig.for_model("qwen2_5_vl")
        self.config.vision_config.spatial_merge_size = 2

    get_rope_index = Qwen2_5_VLModel.get_rope_index
    get_vision_position_ids = Qwen2_5_VLModel.get_vision_position_ids


LIBRARY = _Library()


def test_mrope_worked_by_hand() -> None:
    # Two words, a picture of two rows and three columns, a word: the word follows max(2, 3).
    assert mrope_positions([2, (2, 3), 1]).tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5],
        [0, 1, 2, 2, 2, 3, 3, 3, 5],
        [0, 1, 2, 3, 4, 2, 3, 4, 5],
    ]


def test_plain_positions_count() -> None:
    assert plain_positions(9).tolist() == [list(range(9))]
