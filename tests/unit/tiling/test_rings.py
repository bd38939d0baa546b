"""Rings of label images against the polygons of GDAL; no ring touches itself."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes
from scipy import ndimage

from tiling.objects.rings import find_rings


def random_labels(seed: int, height: int, width: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "numbers":
        return rng.integers(0, 4, (height, width)).astype(np.int32)
    noise = rng.normal(size=(height, width))
    mask = noise > 0.2 if kind == "noise" else ndimage.gaussian_filter(noise, 2) > 0
    return ndimage.label(mask, np.ones((3, 3)), output=np.int32)[0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kind=st.sampled_from(["numbers", "noise", "blobs"]),
)
def test_rings_equal_the_polygons_of_gdal(seed: int, height: int, width: int, kind: str) -> None:
    labels = random_labels(seed, height, width, kind)
    rings = find_rings(labels)
    points_of_rings = np.split(rings.points, np.cumsum(rings.point_count)[:-1])
    ours = []
    area = np.zeros(int(labels.max()) + 1)
    # Without rings, np.split still returns one empty array.
    for label, points in zip(rings.label, points_of_rings[: len(rings.label)], strict=True):
        assert len(np.unique(points, axis=0)) == len(points), "a ring passes no vertex twice"
        steps = np.roll(points, -1, axis=0) - points
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert ((steps[:, 0] == 0) != (np.roll(steps, 1, axis=0)[:, 0] == 0)).all(), "corners only"
        area[label] += (points * np.roll(points, -1, axis=0)[:, ::-1] * [1, -1]).sum() / 2
        ours.append((int(label), shapely.normalize(shapely.LinearRing(points)).wkb))
    np.testing.assert_array_equal(area[1:], np.bincount(labels.ravel(), minlength=len(area))[1:])
    expected = [
        (int(value), shapely.normalize(shapely.LinearRing(ring)).wkb)
        for geometry, value in shapes(labels, mask=labels > 0, connectivity=4)
        for ring in geometry["coordinates"]
    ]
    assert sorted(ours) == sorted(expected)
