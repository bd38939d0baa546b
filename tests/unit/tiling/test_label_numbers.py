"""Numbers of objects follow their first pixel in raster order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tiling.raster.label_numbers import label_components, renumber

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=15), elements=st.booleans())


def test_numbers_follow_the_first_pixel_in_raster_order() -> None:
    assert renumber(np.array([[0, 9, 4], [2, 9, 0]], np.int32)).tolist() == [[0, 1, 2], [3, 1, 0]]


def test_an_empty_image_stays_empty() -> None:
    assert renumber(np.zeros((2, 3), np.int32)).tolist() == [[0] * 3] * 2


def test_one_number_for_all_glands_is_split_by_8_connected_components() -> None:
    labels = label_components(np.array([[5, 0, 5], [0, 5, 0], [0, 0, 0], [5, 5, 0]]))
    assert labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [2, 2, 0]]


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_components_are_numbered_by_their_first_pixel(mask: np.ndarray) -> None:
    labels = label_components(mask)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, mask)
    np.testing.assert_array_equal(renumber(labels), labels)
