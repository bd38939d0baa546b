"""Simplified outlines: valid, within the bound, and without new contacts between glands."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.objects.simplify import isolated_objects, simplify_outlines
from tiling.objects.trace import trace_mask


def blobs(
    seed: int, side: int = 140, level: float = 0.2, sigma: float = 4
) -> tuple[np.ndarray, int]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), sigma)
    return ndimage.label(noise > level * noise.std(), np.ones((3, 3)), output=np.int32)


def outlines_of_labels(labels: np.ndarray, count: int) -> np.ndarray:
    return np.array([trace_mask(labels == value) for value in range(1, count + 1)], object)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 9999),
    bound=st.sampled_from([0.3, 0.8, 1.5, 4.0]),
    block=st.integers(9, 150),
)
def test_objects_are_isolated_when_no_other_is_within_twice_the_bound(
    seed: int, bound: float, block: int
) -> None:
    labels, count = blobs(seed, 70)
    is_isolated = isolated_objects(labels, count, bound_px=bound, block_px=block)
    shapes = outlines_of_labels(labels, count)
    for index in range(count):
        distance = min(
            (shapes[index].distance(other) for k, other in enumerate(shapes) if k != index),
            default=np.inf,
        )
        if is_isolated[index]:
            assert distance > 2 * bound
        else:
            assert distance <= np.sqrt(2) * (2 * bound + 2), "unnecessarily excluded"
    np.testing.assert_array_equal(is_isolated, isolated_objects(labels, count, bound_px=bound))


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 9999),
    bound=st.sampled_from([0.3, 0.8, 1.5, 4.0]),
    sigma=st.sampled_from([1.0, 2.0, 4.0]),
)
def test_simplified_outlines_are_valid_within_the_bound_and_do_not_overlap(
    seed: int, bound: float, sigma: float
) -> None:
    labels, count = blobs(seed, 60, sigma=sigma)
    exact = outlines_of_labels(labels, count)
    is_isolated = isolated_objects(labels, count, bound_px=bound)
    shapes = np.where(is_isolated, simplify_outlines(exact, bound_px=bound), exact)
    assert shapely.is_valid(shapes).all()
    assert shapely.is_valid(shapely.set_precision(shapes, 0.01)).all()
    # Distances are measured at points along the lines, not only at their corners.
    a, b = (shapely.segmentize(shapely.boundary(lines), 0.5) for lines in (exact, shapes))
    assert (shapely.hausdorff_distance(a, b) <= bound + 1e-6).all()
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="intersects")
    before = shapely.STRtree(exact).query(exact, predicate="intersects")
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == set(
        zip(*before.tolist(), strict=True)
    ), "the same glands touch"
    is_pair = first < second
    assert (
        shapely.area(shapely.intersection(shapes[first[is_pair]], shapes[second[is_pair]])).sum()
        == 0
    )


def test_a_slanted_edge_loses_its_steps() -> None:
    y, x = np.mgrid[:200, :200]
    shape = np.array(
        [trace_mask((y > x / 3 + 20) & (y < x / 3 + 90) & (x > 9) & (x < 190))], object
    )
    [simplified] = simplify_outlines(shape, bound_px=1.0)
    assert shapely.get_num_coordinates(simplified) < 12 < shapely.get_num_coordinates(shape[0])
    assert simplified.area == pytest.approx(shape[0].area, rel=0.02)
