"""What an instance mask may hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tiling.raster.label_numbers import label_components
from tiling.raster.mask_rules import (
    MaskPieces,
    mask_problem,
    merge_pieces,
    pieces,
    shares_one_number,
    solid_numbers,
)

MASKS = arrays(int, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2))


@given(MASKS)
def test_solid_numbers_fill_a_square_of_three_by_three_pixels(mask: np.ndarray) -> None:
    same = ndimage.minimum_filter(mask, 3) == ndimage.maximum_filter(mask, 3)
    padded = np.pad(mask, 1, mode="edge")
    assert solid_numbers(padded).tolist() == np.unique(mask[same]).tolist()


@pytest.mark.parametrize(
    ("numbers", "solid", "problem"),
    [
        ([0, 1, 2], [0], None),
        ([0, 1.5], [0, 1.5], "fractions"),
        ([-1, 0, 3], [0, 3], "negative"),
        (range(8), [0, 1, 2], "8 different numbers, most of them nowhere 3 x 3 pixels large"),
        (range(8), [0, 1, 2, 3], None),
        (range(7), [0], None),
    ],
)
def test_problems_are_named(numbers: list[float], solid: list[float], problem: str | None) -> None:
    message = mask_problem(np.array(numbers), np.array(solid))
    assert (message is None) == (problem is None)
    assert problem is None or (message or "").startswith(problem)


def test_a_mask_of_one_number_has_no_numbers_of_glands() -> None:
    assert shares_one_number(np.array([0, 255]))
    assert shares_one_number(np.array([0]))
    assert shares_one_number(np.array([False, True]))
    assert not shares_one_number(np.array([1, 2]))


@given(MASKS)
def test_pieces_of_blocks_are_those_of_the_whole_mask(mask: np.ndarray) -> None:
    components = label_components(mask)
    half = len(mask) // 2
    parts = [pieces(mask[rows], components[rows]) for rows in (slice(half), slice(half, None))]
    for merged, whole in zip(merge_pieces(parts), pieces(mask, components), strict=True):
        np.testing.assert_array_equal(merged, whole)
    for number, component, area_px in zip(*pieces(mask, components), strict=True):
        assert area_px == ((mask == number) & (components == component)).sum()


def table(*rows: tuple[int, int, int]) -> MaskPieces:
    return MaskPieces(*np.array(rows).T)


def test_small_pieces_and_single_scattered_numbers_are_no_classes() -> None:
    whole = table((1, 1, 90), (1, 2, 10), (2, 3, 50))
    assert whole.problem() is None
    assert whole.message() is None
    one_of_three = table((1, 1, 90), (1, 2, 80), (2, 3, 50), (3, 4, 50))
    assert one_of_three.problem() is None
    assert one_of_three.message() == (
        "1 numbers of several pieces (1: 2 pieces); each counts as one gland"
    )
    assert "1 of its 2 numbers" in (table((1, 1, 90), (1, 2, 80), (2, 3, 50)).problem() or "")
