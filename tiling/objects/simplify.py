"""Outlines with fewer corners, for glands that have room: nothing moves further than a bound, nothing touches that did not.

A gland that another one touches, or nearly, keeps its pixel edges: the border they share stays one line, whatever is simplified around it.
"""

from math import ceil
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from tiling.raster.geometry import blocks, halo
from tiling.stores.arrays import SHARD_PX

_LEAST_POINTS = 5  # the first is also the last


def alone(
    labels: Any,  # noqa: ANN401
    count: int,
    *,
    bound_px: float,
    block_px: int = SHARD_PX,
) -> NDArray[np.bool_]:  # zarr or numpy array
    """Objects from which every other one is further than twice the bound: bool (count,). Read block by block.

    Parameters
    ----------
    labels : int (y, x), 1..count
    bound_px : how far outlines may move
    """
    reach = ceil(2 * bound_px) + 1
    size = 2 * reach + 1
    free = np.ones(count + 1, bool)
    height, width = labels.shape
    for block in blocks(height, width, block_px):
        outer, inner = halo(block, reach, height, width)
        pixels = np.asarray(labels[outer])
        own = pixels[inner]
        if not own.any():
            continue
        largest = ndimage.maximum_filter(pixels, size, mode="constant")[inner]
        # Background must not be the smallest.
        none = np.iinfo(pixels.dtype).max
        smallest = ndimage.minimum_filter(
            np.where(pixels > 0, pixels, none), size, mode="constant", cval=none
        )[inner]
        free[own[(own > 0) & ((largest != own) | (smallest != own))]] = False
    return free[1:]


def simplified(shapes: NDArray[np.object_], *, bound_px: float) -> NDArray[np.object_]:
    """Outlines with no vertex that is not needed to stay within a bound (Douglas and Peucker 1973, keeping rings apart).

    Parameters
    ----------
    shapes : object (n,), polygons in stored pixel edges
    bound_px : Hausdorff distance of the result, at most

    Returns
    -------
    object (n,); an outline is as it was where the result would be invalid, further away, or have a triangle for a ring (QuPath loses it).
    """
    found = shapely.simplify(shapes, bound_px, preserve_topology=True)
    moved = shapely.hausdorff_distance(shapely.boundary(found), shapely.boundary(shapes))
    good = shapely.is_valid(found) & ~shapely.is_empty(found) & (moved <= bound_px + 1e-9)
    good &= shapely.get_num_geometries(found) == shapely.get_num_geometries(shapes)
    parts, whole = shapely.get_parts(found, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    good[whole[part[shapely.get_num_coordinates(rings) < _LEAST_POINTS]]] = False
    return np.asarray(np.where(good, shapely.normalize(found), shapes), object)
