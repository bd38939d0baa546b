"""Outlines with fewer corners, within a bound of the original ones, that never touch each other.

Glands that touch, or lie within twice the bound of each other, keep their pixel edges, so that the
border they share stays one line.
"""

from math import ceil
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from tiling.raster.geometry import blocks, halo
from tiling.stores.arrays import SHARD_PX

_MIN_POINTS = 5  # of a ring of four corners: the first point is repeated at the end


def isolated_objects(
    labels: Any,  # noqa: ANN401  # zarr or numpy array
    count: int,
    *,
    bound_px: float,
    block_px: int = SHARD_PX,
) -> NDArray[np.bool_]:
    """Find objects that are farther than twice the bound from every other one, bool (count,).

    The labels are read block by block.

    Parameters
    ----------
    labels : int (y, x), objects 1..count
    bound_px : largest distance that an outline may move
    block_px : side of the blocks; the result does not depend on it
    """
    reach = ceil(2 * bound_px) + 1
    size = 2 * reach + 1
    isolated = np.ones(count + 1, bool)
    height, width = labels.shape
    for block in blocks(height, width, block_px):
        outer, inner = halo(block, reach, height, width)
        pixels = np.asarray(labels[outer])
        own = pixels[inner]
        if not own.any():
            continue
        largest = ndimage.maximum_filter(pixels, size, mode="constant")[inner]
        # Replaced by the largest value, background is never the smallest label.
        background = np.iinfo(pixels.dtype).max
        smallest = ndimage.minimum_filter(
            np.where(pixels > 0, pixels, background), size, mode="constant", cval=background
        )[inner]
        isolated[own[(own > 0) & ((largest != own) | (smallest != own))]] = False
    return isolated[1:]


def simplify_outlines(shapes: NDArray[np.object_], *, bound_px: float) -> NDArray[np.object_]:
    """Remove corners of outlines that stay within a bound of the original ones.

    The method is that of Douglas and Peucker (1973); rings of one outline do not cross.

    Parameters
    ----------
    shapes : object (n,), polygons in stored pixel edges
    bound_px : largest Hausdorff distance between an outline and the original one

    Returns
    -------
    object (n,)
        An outline is unchanged where the result would be invalid, farther away, or have a ring of
        three corners (QuPath deletes such rings).
    """
    simplified = shapely.simplify(shapes, bound_px, preserve_topology=True)
    distance = shapely.hausdorff_distance(shapely.boundary(simplified), shapely.boundary(shapes))
    is_usable = (
        shapely.is_valid(simplified) & ~shapely.is_empty(simplified) & (distance <= bound_px + 1e-9)
    )
    is_usable &= shapely.get_num_geometries(simplified) == shapely.get_num_geometries(shapes)
    parts, shape_of_part = shapely.get_parts(simplified, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    is_triangle = shapely.get_num_coordinates(rings) < _MIN_POINTS
    is_usable[shape_of_part[part_of_ring[is_triangle]]] = False
    return np.asarray(np.where(is_usable, shapely.normalize(simplified), shapes), object)
