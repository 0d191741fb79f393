"""Connected regions, against a flood fill that visits one pixel after another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from repic.retrieval.foreground import bounds, eroded, regions

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def flood(mask: np.ndarray) -> np.ndarray:
    labels, number = np.zeros(mask.shape, dtype=np.int64), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        number += 1
        todo = [start]
        while todo:
            y, x = todo.pop()
            inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
            if inside and mask[y, x] and not labels[y, x]:
                labels[y, x] = number
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return labels


@given(masks, st.integers(1, 9))
def test_regions_are_those_of_a_flood_fill_without_the_small_ones(
    mask: np.ndarray, least: int
) -> None:
    labels = flood(mask)
    large = [n for n in range(1, labels.max(initial=0) + 1) if (labels == n).sum() >= least]
    found = regions(mask, least=float(least))
    assert len(found) == len(large)
    assert all((got == (labels == n)).all() for got, n in zip(found, large, strict=True))


def test_a_letter_u_is_one_region_and_a_diagonal_is_several() -> None:
    u = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]], dtype=bool)
    assert [region.tolist() for region in regions(u, least=1.0)] == [u.tolist()]
    assert bounds(u) == (0, 0, 3, 3)
    assert len(regions(np.eye(3, dtype=bool), least=1.0)) == 3


@pytest.mark.parametrize("side", [3, 5])
def test_wear_takes_the_outermost_pixels_at_the_edge_of_the_picture_too(side: int) -> None:
    assert eroded(np.ones((side, side), dtype=bool)).sum() == (side - 2) ** 2
