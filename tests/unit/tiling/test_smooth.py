"""Smoothed outlines: valid, within the bound, of the same area and pixels, and without overlaps."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage

from tiling.objects.smooth import MAX_BOUND_PX, junction_points, smooth_outlines
from tiling.objects.trace import trace_mask


def touching_blobs(seed: int, side: int, sigma: float, level: float) -> np.ndarray:
    """Objects that touch each other in threes, with holes and islands, int32 (side, side)."""
    rng = np.random.default_rng(seed)
    noise, other = (ndimage.gaussian_filter(rng.normal(size=(side, side)), sigma) for _ in range(2))
    classes = np.digitize(other, np.quantile(other, [0.3, 0.6])) + 1
    inside = np.where(noise > level * noise.std(), classes, 0)
    labels, count = np.zeros((side, side), np.int32), 0
    for value in (1, 2, 3):
        parts, part_count = ndimage.label(inside == value, np.ones((3, 3)))
        labels[parts > 0] = parts[parts > 0] + count
        count += part_count
    return labels


def exact_outlines(labels: np.ndarray) -> np.ndarray:
    return np.array([trace_mask(labels == value) for value in range(1, labels.max() + 1)], object)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99999),
    side=st.integers(5, 60),
    sigma=st.sampled_from([0.5, 1.0, 2.0, 4.0, 9.0]),
    level=st.sampled_from([-0.5, 0.0, 0.5]),
    bound=st.sampled_from([0.1, 0.3, 5.0]),
    scale=st.sampled_from([1.0, 2.0, 4.0]),
)
def test_outlines_keep_area_pixels_neighbours_and_bound(
    seed: int, side: int, sigma: float, level: float, bound: float, scale: float
) -> None:
    labels = touching_blobs(seed, side, sigma, level)
    exact = exact_outlines(labels)
    shapes = smooth_outlines(exact, junction_points(labels), labels.shape, bound_px=bound)
    written = shapely.transform(shapes, lambda points: np.round(points * scale, 2) / scale)
    for made in (shapes, written):
        assert shapely.is_valid(made).all()
        assert shapely.is_valid(shapely.set_precision(made, 0.01 / scale)).all()
    areas = shapely.area(exact)
    assert (np.abs(shapely.area(shapes) - areas) <= 0.008 * areas).all()
    assert (np.abs(shapely.area(written) - areas) <= 0.01 * areas).all()
    assert (shapely.get_num_geometries(shapes) == shapely.get_num_geometries(exact)).all()
    bound = min(bound, MAX_BOUND_PX)
    a, b = (shapely.segmentize(shapely.boundary(lines), 0.1) for lines in (exact, shapes))
    assert (shapely.hausdorff_distance(a, b) <= bound + 1e-9).all()
    first, second = shapely.STRtree(written).query(written, predicate="intersects")
    pair = first < second
    overlap = shapely.area(shapely.intersection(written[first[pair]], written[second[pair]]))
    assert overlap.sum() == 0
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == set(
        zip(*shapely.STRtree(exact).query(exact, predicate="intersects").tolist(), strict=True)
    ), "the same glands touch"
    # The union has no gap that the exact outlines do not have.
    assert shapely.union_all(written).area == pytest.approx(shapely.area(written).sum(), abs=1e-6)
    covered = rasterize(
        ((shape, value) for value, shape in enumerate(written, start=1)), labels.shape
    )
    np.testing.assert_array_equal(covered, labels)
    again = smooth_outlines(exact[::-1], junction_points(labels), labels.shape, bound_px=bound)
    assert shapely.equals_exact(again[::-1], shapes).all(), "it does not depend on the others"


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 9999), block=st.integers(2, 40))
def test_junctions_are_those_of_the_whole_image(seed: int, block: int) -> None:
    labels = touching_blobs(seed, 30, 1.0, 0.0)
    expected = [
        y * 31 + x
        for y in range(1, 30)
        for x in range(1, 30)
        if sum(
            (
                labels[y - 1, x - 1] != labels[y - 1, x],
                labels[y, x - 1] != labels[y, x],
                labels[y - 1, x - 1] != labels[y, x - 1],
                labels[y - 1, x] != labels[y, x],
            )
        )
        > 2
    ]
    assert junction_points(labels, block_px=block).tolist() == expected


def test_steps_of_a_slanted_edge_become_nearly_a_line() -> None:
    y, x = np.mgrid[:200, :200]
    labels = ((y > x / 2 + 20) & (y < x / 2 + 90) & (x > 20) & (x < 180)).astype(np.int32)
    exact = exact_outlines(labels)
    [shape] = smooth_outlines(exact, junction_points(labels), labels.shape, bound_px=0.45)
    assert exact[0].length == 616
    assert shape.length < 1.03 * (2 * 159 * np.hypot(1, 0.5) + 2 * 70)
    assert shapely.get_num_coordinates(shape) < 1.5 * shapely.get_num_coordinates(exact[0])
