"""Pieces of runs against SciPy's components of the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.objects.runs import connected, runs


def image(seed: int, height: int, width: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    share=st.floats(0, 1),
)
def test_pieces_of_runs_are_the_components_of_pixels_numbered_by_first_pixel(
    seed: int, height: int, width: int, share: float
) -> None:
    mask = image(seed, height, width, share)
    found = runs(mask)
    count, piece = connected(found.of(found.value))
    labels = np.zeros(len(found.value), np.int32)
    labels[found.value] = piece
    painted = found._replace(value=labels).painted(mask.shape)
    expected, components = ndimage.label(mask, np.ones((3, 3)))
    assert count == components
    first = np.unique(expected[mask], return_index=True)[1]
    number = np.zeros(components + 1, int)
    number[1:][np.argsort(first)] = np.arange(1, components + 1)
    np.testing.assert_array_equal(painted, number[expected])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    values=st.integers(1, 4),
)
def test_runs_cover_the_block_and_tell_every_pixel(
    seed: int, height: int, width: int, values: int
) -> None:
    block = np.random.default_rng(seed).integers(-1, values, (height, width)).astype(np.int32)
    found = runs(block)
    np.testing.assert_array_equal(found.painted(block.shape), block)
    y, x = found.pixels()
    np.testing.assert_array_equal(block[y, x], np.repeat(found.value, found.length))
    assert list(zip(y, x, strict=True)) == list(np.ndindex(*block.shape))
    # As long as can be: in a row a run's value is not that of the run before.
    assert not ((found.value[1:] == found.value[:-1]) & (found.y[1:] == found.y[:-1])).any()


@pytest.mark.parametrize("gap", [0, 1])
def test_the_end_of_a_row_does_not_touch_the_beginning_of_the_next_but_one(gap: int) -> None:
    mask = np.zeros((3, 5), bool)
    mask[0, 4] = mask[1 + gap, 0] = True
    found = runs(mask)
    assert connected(found.of(found.value))[0] == 2
