"""Outlines against unions of unit squares; they do not depend on the blocks."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.objects import trace
from tiling.objects.trace import trace_mask, trace_object, trace_objects


def union_of_pixels(inside: np.ndarray) -> shapely.Geometry:
    """The union of the pixels of a mask, as unit squares."""
    pixels = np.argwhere(inside)
    return shapely.union_all(
        shapely.box(pixels[:, 1], pixels[:, 0], pixels[:, 1] + 1, pixels[:, 0] + 1)
    )


def bounding_windows(labels: np.ndarray) -> np.ndarray:
    windows = [
        (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(labels)
    ]
    return np.array(windows, np.int64).reshape(-1, 4)


def label_by_first_pixel(image: np.ndarray) -> np.ndarray:
    """8-connected objects, numbered by their first pixel as in the gland store."""
    labels, count = ndimage.label(image, np.ones((3, 3)))
    first = [int(np.flatnonzero(labels == value)[0]) for value in range(1, count + 1)]
    table = np.zeros(count + 1, np.int32)
    table[1 + np.argsort(first)] = np.arange(1, count + 1)
    return table[labels]


masks = st.builds(
    lambda seed, h, w, density: np.random.default_rng(seed).random((h, w)) < density,
    st.integers(0, 2**32),
    st.integers(1, 24),
    st.integers(1, 24),
    st.sampled_from([0.3, 0.5, 0.65, 0.8, 0.95]),
)


@settings(max_examples=40, deadline=None)
@given(
    image=masks,
    band_px=st.integers(1, 30),
    block_px=st.integers(1, 30),
    small_px=st.integers(0, 30),
)
def test_outlines_are_the_union_of_their_pixels_in_label_order(
    image: np.ndarray, band_px: int, block_px: int, small_px: int
) -> None:
    labels = label_by_first_pixel(image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_SMALL_PX", small_px)
        traced = list(
            trace_objects(
                labels,
                bounding_windows(labels),
                band_px=band_px,
                block_px=block_px,
                workers=1 + band_px % 3,
            )
        )
    rows = np.concatenate([part.rows for part in traced] or [np.zeros(0, int)])
    np.testing.assert_array_equal(rows, np.arange(labels.max()))
    for row, shape in zip(
        rows, np.concatenate([part.shapes for part in traced] or [[]]), strict=True
    ):
        inside = labels == row + 1
        assert shape.is_valid
        assert shape.area == inside.sum()
        assert shapely.equals(shape, union_of_pixels(inside))
        assert shapely.set_precision(shape, 0.01).is_valid
        for ring in shapely.get_rings(shapely.get_parts(shape)):
            steps = np.diff(np.vstack([ring.coords, ring.coords[1]]), axis=0)
            assert ((steps == 0).sum(axis=1) == 1).all()
            assert (steps[1:] * steps[:-1] == 0).all(), "a vertex in the middle of an edge"


@settings(max_examples=25, deadline=None)
@given(image=masks, block_px=st.integers(1, 9))
def test_a_large_object_traced_block_by_block_has_the_same_outline(
    image: np.ndarray, block_px: int
) -> None:
    labels = np.pad(image, 2).astype(np.int32)
    if not image.any():
        return
    window = bounding_windows(labels)[0]
    at_once = trace_object(labels, 0, window)
    by_blocks = trace_object(labels, 0, window, max_window_area_px=0, block_px=block_px)
    assert shapely.equals_exact(at_once, by_blocks, tolerance=0)


def test_pixels_that_touch_at_a_corner_are_two_parts() -> None:
    shape = trace_mask(np.eye(2, dtype=bool), y=10, x=20)
    assert shape.geom_type == "MultiPolygon"
    assert shape.bounds == (20, 10, 22, 12)
    assert shape.is_valid


def test_a_hole_that_touches_the_outside_at_a_corner_stays_valid() -> None:
    shape = trace_mask(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool))
    assert shape.is_valid
    assert shape.area == 7
    assert len(shape.interiors) == 1


def test_objects_of_the_table_without_pixels_in_the_labels_raise_an_error() -> None:
    labels = np.array([[1, 0, 0]], np.int32)
    with pytest.raises(ValueError, match="stitch the slide again"):
        list(trace_objects(labels, np.array([[0, 0, 1, 1], [0, 2, 1, 1]])))
    with pytest.raises(ValueError, match="stitch the slide again"):
        list(trace_objects(labels * 0, np.array([[0, 0, 1, 1]])))
