"""Outlines with fewer corners: no outline moves farther than a bound, and none touches another.

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

_MIN_POINTS = 5  # the first is also the last


def isolated_objects(
    labels: Any,  # noqa: ANN401
    count: int,
    *,
    bound_px: float,
    block_px: int = SHARD_PX,
) -> NDArray[np.bool_]:  # zarr or numpy array
    """Objects that are farther than twice the bound from every other one, bool (count,).

    The labels are read block by block.

    Parameters
    ----------
    labels : int (y, x), 1..count
    bound_px : how far outlines may move
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
        # Background must not be the smallest label.
        background = np.iinfo(pixels.dtype).max
        smallest = ndimage.minimum_filter(
            np.where(pixels > 0, pixels, background), size, mode="constant", cval=background
        )[inner]
        isolated[own[(own > 0) & ((largest != own) | (smallest != own))]] = False
    return isolated[1:]


def simplify_outlines(shapes: NDArray[np.object_], *, bound_px: float) -> NDArray[np.object_]:
    """Remove corners as long as an outline stays within a bound of the original one.

    Douglas and Peucker (1973), with rings that stay apart.

    Parameters
    ----------
    shapes : object (n,), polygons in stored pixel edges
    bound_px : Hausdorff distance of the result, at most

    Returns
    -------
    object (n,)
        An outline is unchanged where the result would be invalid, farther away, or have a ring of
        three corners (QuPath drops it).
    """
    simplified = shapely.simplify(shapes, bound_px, preserve_topology=True)
    moved = shapely.hausdorff_distance(shapely.boundary(simplified), shapely.boundary(shapes))
    good = shapely.is_valid(simplified) & ~shapely.is_empty(simplified) & (moved <= bound_px + 1e-9)
    good &= shapely.get_num_geometries(simplified) == shapely.get_num_geometries(shapes)
    parts, whole = shapely.get_parts(simplified, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    good[whole[part[shapely.get_num_coordinates(rings) < _MIN_POINTS]]] = False
    return np.asarray(np.where(good, shapely.normalize(simplified), shapes), object)
