"""Measurements of glands, in um and um2, from their outlines and maps.

Columns and units of the table: docs/outputs.md.
"""

from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.raster.geometry import Geometry, blocks
from tiling.raster.quantise import restore_probability
from tiling.stores.arrays import SHARD_PX

# A contour through the middles of pixel edges is too long in most directions; with this factor it
# is right on average over all directions (Kulpa 1977; for square pixels the same number as
# Crofton's formula with four directions).
_OCTAGONAL = np.pi / (8 * (np.sqrt(2) - 1))


class Measurements(NamedTuple):
    """Measurements in the table and the GeoJSON; one entry per gland, all numbers finite.

    Attributes
    ----------
    area_um2 : pixels times the area of a pixel
    perimeter_um : of outer and inner contours, smoothed: within 5 % of the length of a smooth
        contour, unlike the staircase of pixel edges
    solidity : area / area of the convex hull, 0..1
    eccentricity : of the ellipse of equal second moments, 0 (circle) .. 1
    orientation_deg : angle of its major axis to the x axis, anticlockwise on the slide, -90..90
    holes : number of holes
    lumen_share : share of the area inside the outer contours that the gland does not cover, 0..1
    """

    area_um2: NDArray[np.float64]
    perimeter_um: NDArray[np.float64]
    solidity: NDArray[np.float64]
    eccentricity: NDArray[np.float64]
    orientation_deg: NDArray[np.float64]
    holes: NDArray[np.int64]
    lumen_share: NDArray[np.float64]


def measure(
    shapes: NDArray[np.object_], geometry: Geometry
) -> tuple[Measurements, NDArray[np.float64]]:
    """Measure outlines.

    Parameters
    ----------
    shapes : object (n,), polygons in stored pixel edges, normalised: shells and holes run in
        opposite directions
    geometry : gives the pixel size

    Returns
    -------
    Measurements
    float64 (n, 2)
        Centroids, (x, y) in stored pixel edges.
    """
    if not len(shapes):
        empty = np.zeros(0)
        measurements = Measurements(empty, empty, empty, empty, empty, np.zeros(0, np.int64), empty)
        return measurements, np.zeros((0, 2))
    parts, shape_of_part = shapely.get_parts(shapes, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    shape_of_ring = shape_of_part[part_of_ring]
    points, ring = shapely.get_coordinates(rings, return_index=True)
    shape_of_point = shape_of_ring[ring]
    origin = shapely.bounds(shapes)[:, :2]
    points = points - origin[shape_of_point]  # small numbers keep the sums of squares exact
    is_edge = ring[:-1] == ring[1:]
    start, end = points[:-1][is_edge], points[1:][is_edge]
    shape_of_edge = shape_of_point[:-1][is_edge]
    area, centre, spread = _moments(start, end, shape_of_edge, len(shapes))
    size = np.array([geometry.mpp_x, geometry.mpp_y])
    spread = spread * size[:, None] * size
    axes = np.sqrt(np.maximum(np.linalg.eigvalsh(spread), 0))
    staircase = np.bincount(shape_of_edge, np.abs((end - start) * size).sum(axis=1), len(shapes))
    # At each corner two half edges become one slanted line.
    corners = np.bincount(shape_of_edge, minlength=len(shapes))
    shortening = (size.sum() - np.hypot(*size)) / 2
    return Measurements(
        area_um2=area * geometry.um2_per_px,
        perimeter_um=_OCTAGONAL * (staircase - corners * shortening),
        solidity=area / shapely.area(shapely.convex_hull(shapes)),
        eccentricity=np.sqrt(np.maximum(1 - (axes[:, 0] / axes[:, 1]) ** 2, 0)),
        orientation_deg=np.degrees(
            0.5 * np.arctan2(-2 * spread[:, 0, 1], spread[:, 0, 0] - spread[:, 1, 1])
        ),
        holes=np.bincount(shape_of_ring, minlength=len(shapes))
        - shapely.get_num_geometries(shapes),
        lumen_share=1 - area / _enclosed_area(shapes, parts, shape_of_part),
    ), centre + origin


def _enclosed_area(
    shapes: NDArray[np.object_], parts: NDArray[np.object_], shape_of_part: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Area inside the outer contours, holes included, float64 (n,)."""
    filled = shapely.polygons(shapely.get_exterior_ring(parts))
    area = np.bincount(shape_of_part, shapely.area(filled), len(shapes))
    # A part may lie in a hole of another part: the union counts the area once.
    for row in np.flatnonzero(shapely.get_num_geometries(shapes) > 1):
        area[row] = shapely.area(shapely.union_all(filled[shape_of_part == row]))
    return np.asarray(area, np.float64)


def _moments(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    shape_of_edge: NDArray[np.int64],
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Area (n,), centroid (n, 2) and covariance (n, 2, 2) of polygons, by Green's theorem."""
    cross = start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1]

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(shape_of_edge, values, count), np.float64)

    area = total(cross) / 2
    centre = (
        np.stack([total((start[:, k] + end[:, k]) * cross) for k in (0, 1)], axis=1)
        / (6 * area)[:, None]
    )
    second = np.empty((count, 2, 2))
    for i, j in ((0, 0), (0, 1), (1, 1)):
        product = (
            2 * start[:, i] * start[:, j]
            + start[:, i] * end[:, j]
            + end[:, i] * start[:, j]
            + 2 * end[:, i] * end[:, j]
        )
        second[:, i, j] = second[:, j, i] = (
            total(product * cross) / (24 * area) - centre[:, i] * centre[:, j]
        )
    return np.abs(area), centre, second


def mean_probabilities(
    labels: Any,  # noqa: ANN401  # zarr array
    maps: list[Any],
    count: int,
    *,
    block_px: int = SHARD_PX,
) -> list[NDArray[np.float64]]:
    """Mean of quantised probability maps over each object 1..count.

    Parameters
    ----------
    labels : int (y, x), read once, block by block
    maps : uint8 arrays (y, x)

    Returns
    -------
    list of ndarray
        For each map float64 (count,), 0..1.
    """
    sums = np.zeros((len(maps) + 1, count + 1))
    for block in blocks(labels.shape[0], labels.shape[1], block_px):
        part = np.asarray(labels[block])
        inside = part > 0
        if not inside.any():
            continue
        numbers = part[inside]
        low = int(numbers.min())
        numbers -= low
        weights = [None, *(np.asarray(array[block])[inside] for array in maps)]
        for row, weight in zip(sums, weights, strict=True):
            block_sums = np.bincount(numbers, weight)
            row[low : low + len(block_sums)] += block_sums
    return [restore_probability(row[1:] / np.maximum(sums[0, 1:], 1)) for row in sums[1:]]
