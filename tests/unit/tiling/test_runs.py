"""Components of runs against SciPy's components of the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.raster.runs import connect_runs, find_runs


def image(seed: int, height: int, width: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    share=st.floats(0, 1),
)
def test_components_of_runs_are_those_of_the_pixels_numbered_by_first_pixel(
    seed: int, height: int, width: int, share: float
) -> None:
    mask = image(seed, height, width, share)
    runs = find_runs(mask)
    count, component = connect_runs(runs.select(runs.value))
    labels = np.zeros(len(runs.value), np.int32)
    labels[runs.value] = component
    labelled = runs._replace(value=labels).to_array(mask.shape)
    expected, components = ndimage.label(mask, np.ones((3, 3)))
    assert count == components
    first = np.unique(expected[mask], return_index=True)[1]
    number = np.zeros(components + 1, int)
    number[1:][np.argsort(first)] = np.arange(1, components + 1)
    np.testing.assert_array_equal(labelled, number[expected])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    values=st.integers(1, 4),
)
def test_runs_cover_the_block_and_are_as_long_as_possible(
    seed: int, height: int, width: int, values: int
) -> None:
    block = np.random.default_rng(seed).integers(-1, values, (height, width)).astype(np.int32)
    runs = find_runs(block)
    np.testing.assert_array_equal(runs.to_array(block.shape), block)
    y, x = runs.pixels()
    np.testing.assert_array_equal(block[y, x], np.repeat(runs.value, runs.length))
    assert list(zip(y, x, strict=True)) == list(np.ndindex(*block.shape))
    # Neighbouring runs of a row have different values.
    assert not ((runs.value[1:] == runs.value[:-1]) & (runs.y[1:] == runs.y[:-1])).any()


@pytest.mark.parametrize("gap", [0, 1])
def test_the_end_of_a_row_does_not_touch_the_beginning_of_a_later_row(gap: int) -> None:
    mask = np.zeros((3, 5), bool)
    mask[0, 4] = mask[1 + gap, 0] = True
    runs = find_runs(mask)
    assert connect_runs(runs.select(runs.value))[0] == 2
