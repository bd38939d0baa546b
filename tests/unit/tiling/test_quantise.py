"""Maps as uint8: exact values, thresholds, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiling.raster.quantise import (
    quantise_maps,
    quantise_probability,
    quantise_pseudo_label,
    quantise_scaled_means,
    quantise_sdf,
    quantised_sdf_threshold,
    quantised_threshold,
    restore_probability,
    restore_sdf,
)

LEVELS = np.arange(256, dtype=np.uint8)


def test_maps_are_rounded_to_the_nearest_of_256_values() -> None:
    maps = np.array([[0, 0.5, 1], [-1, 0, 1], [0, 1, 0.25], [0, 0, 1]], np.float32)[:, None]
    quantised = quantise_maps(maps)
    assert quantised.dtype == np.uint8
    assert quantised[:, 0].tolist() == [[0, 128, 255], [0, 128, 255], [0, 255, 64], [0, 0, 255]]
    with pytest.raises(ValueError, match="not enough values"):
        quantise_maps(maps[:1])


def test_values_beyond_the_range_are_clipped() -> None:
    assert quantise_probability(np.float32([-0.1, 1.1])).tolist() == [0, 255]
    assert quantise_sdf(np.float32([-1.1, 1.1])).tolist() == [0, 255]


def test_a_stored_pseudo_label_is_what_training_reads() -> None:
    maps = np.float32([0.5, 0.49, 1, -1, 0, 1, 0.2, 0.5, 0.9, 0, 0, 0]).reshape(4, 1, 3)
    quantised = quantise_pseudo_label(maps)
    assert quantised.dtype == np.uint8
    assert quantised.tolist() == [[[1, 0, 1]], [[0, 128, 255]], [[0, 1, 1]]]


def test_restored_values_quantise_to_the_same_values() -> None:
    np.testing.assert_array_equal(quantise_probability(restore_probability(LEVELS)), LEVELS)
    np.testing.assert_array_equal(quantise_sdf(restore_sdf(LEVELS)), LEVELS)
    assert restore_sdf(LEVELS).dtype == np.float32
    assert restore_sdf(LEVELS)[[0, 255]].tolist() == [-1, 1]


@given(st.floats(0, 1))
def test_a_threshold_is_quantised_like_the_values_it_is_compared_with(value: float) -> None:
    assert quantised_threshold(value) == quantise_probability(np.array([value]))[0]
    assert quantised_sdf_threshold(value) == quantise_sdf(np.array([value]))[0]


def test_a_threshold_above_one_is_above_every_quantised_value() -> None:
    assert quantised_threshold(1.01) > 255


def test_scaled_means_give_the_same_values_and_keep_pixels_outside() -> None:
    values = np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)
    where = np.indices(values.shape).sum(0) % 2 == 0
    for is_sdf, expected in ((True, quantise_sdf(values)), (False, quantise_probability(values))):
        out = np.full(values.shape, 7, np.uint8)
        quantise_scaled_means(values * np.float32(255), out, is_sdf=is_sdf, where=where)
        np.testing.assert_array_equal(out, np.where(where, expected, 7))
