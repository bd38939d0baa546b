"""Basins of a depth map: the parts of a mask around the local maxima of the depth.

Split by prominence (docs/architecture.md, "The split rule"). No two pixels and no two pairs of
neighbouring pixels are equal (`tiling.raster.basin_edges`), so the maximum spanning forest of the
pixels is unique. Each pixel belongs to the basin of its highest neighbour, and a basin that is no
seed to the one beyond its highest saddle: both are edges of that forest, so they can be found in
any order.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.basin_edges import (
    DIRECTIONS,
    SELF,
    Edges,
    edges_between,
    image_positions,
    pixel_depths,
    pixel_keys,
    saddle_depths,
)


class Basins(NamedTuple):
    """Basins of an image or a block.

    Attributes
    ----------
    numbers : int32 (h, w), basin 1..n of each pixel, 0 outside the mask
    maxima : int64 (n,), pixel y * w + x of the maximum of each basin
    edges : between basins
    """

    numbers: NDArray[np.int32]
    maxima: NDArray[np.int64]
    edges: Edges


def find_basins(
    depth: NDArray[np.uint16], *, place: tuple[int, int] = (0, 0), width: int | None = None
) -> Basins:
    """Basins of a depth map.

    A pixel whose highest neighbour is in the outermost row or column is a basin of its own.

    Parameters
    ----------
    depth : uint16 (h + 2, w + 2), 0 outside the mask, below 1024; the outermost pixels are those
        of the neighbouring blocks, or 0
    place : (y, x) of the block in the image
    width : of the image; None: that of the block
    """
    columns = depth.shape[1] - 2
    own = np.ascontiguousarray(depth[1:-1, 1:-1])
    direction = _steepest(depth)
    # Only pixels of the mask, with 64-bit indices: other indices are converted in each step.
    inside = np.flatnonzero(own)
    offsets = np.array([dy * columns + dx for dy, dx in DIRECTIONS])
    target = offsets.take(direction.ravel().take(inside)) + inside
    place_inside = np.empty(own.size, np.int64)
    place_inside[inside] = np.arange(len(inside))
    maximum = _followed(place_inside.take(target))
    is_maximum = maximum == np.arange(len(inside))
    numbers = np.zeros(own.shape, np.int32)
    numbers.ravel()[inside] = np.cumsum(is_maximum, dtype=np.int32).take(maximum)
    width = columns if width is None else width
    return Basins(numbers, inside[is_maximum], edges_between(numbers, own, place, width))


def open_basins(numbers: NDArray[np.int32], depth: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Basins that touch the mask beyond their block, bool (n + 1,).

    Parameters
    ----------
    numbers : int32 (h, w)
    depth : uint16 (h + 2, w + 2), with a halo
    """
    is_open = np.zeros(int(numbers.max(initial=0)) + 1, bool)
    for side, halo in (
        (numbers[0], depth[0]),
        (numbers[-1], depth[-1]),
        (numbers[:, 0], depth[:, 0]),
        (numbers[:, -1], depth[:, -1]),
    ):
        touches = (halo[:-2] > 0) | (halo[1:-1] > 0) | (halo[2:] > 0)
        is_open[side[touches]] = True
    is_open[0] = False
    return is_open


def basin_heights(
    basins: Basins,
    depth: NDArray[np.uint16],
    confident: NDArray[np.bool_],
    *,
    place: tuple[int, int] = (0, 0),
    width: int | None = None,
) -> NDArray[np.int64]:
    """Key of the highest confident pixel of each basin, int64 (n + 1,), 0 without one.

    Parameters
    ----------
    depth : uint16 (h, w)
    confident : bool (h, w)
    place, width : as in `find_basins`
    """
    columns = depth.shape[1]
    width = columns if width is None else width

    def keys(pixels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        positions = image_positions(pixels, columns, place, width)
        return pixel_keys(depth.ravel()[pixels], positions)

    heights = np.zeros(len(basins.maxima) + 1, np.int64)
    has_confident_maximum = confident.ravel()[basins.maxima]
    heights[1:][has_confident_maximum] = keys(basins.maxima[has_confident_maximum])
    if not has_confident_maximum.all():
        is_searched = np.concatenate([[False], ~has_confident_maximum])
        pixels = np.flatnonzero(is_searched[basins.numbers] & confident)
        np.maximum.at(heights, basins.numbers.ravel()[pixels], keys(pixels))
    return heights


def merge_basins(
    heights: NDArray[np.int64],
    edges: Edges,
    *,
    min_prominence: int,
    is_open: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], Edges]:
    """Join basins that are no seeds to the basin beyond their highest saddle.

    The prominence of a basin is its height above the highest saddle on a way to a higher basin.
    The highest basin of a component of the mask has no saddle and always stays.

    Parameters
    ----------
    heights : int64 (n + 1,), see `basin_heights`; entry 0 is not used
    edges : between the basins
    min_prominence : of a seed, in steps of the depth, at least 1
    is_open : bool (n + 1,), basins that may have other edges, to pixels of other blocks: they stay;
        None: there are none

    Returns
    -------
    ndarray
        int32 (n + 1,), the basin that each basin belongs to now.
    Edges
        Those between the basins that stayed.
    """
    basin_of = np.arange(len(heights), dtype=np.int32)
    edges = edges.select(np.argsort(edges.key))
    stays = np.zeros(len(heights), bool) if is_open is None else is_open
    # Basins without a confident pixel are ordered, too.
    order = heights + np.where(heights == 0, -np.arange(len(heights), 0, -1), 0)
    while len(edges.key):
        best = np.full(len(heights), -1)
        index = np.arange(len(edges.key))
        for side in edges[:2]:
            highest = np.full(len(heights), -1)
            highest[side] = index  # the last assignment wins
            np.maximum(best, highest, out=best)
        basin = np.flatnonzero((best >= 0) & ~stays)
        edge = best[basin]
        other = edges.a[edge] + edges.b[edge] - basin
        prominence = pixel_depths(heights[basin]) - saddle_depths(edges.key[edge])
        joins = (order[basin] < order[other]) & (prominence < min_prominence)
        if not joins.any():
            break
        step = np.arange(len(heights))
        step[basin[joins]] = other[joins]
        joined = _followed(step).astype(np.int32)
        basin_of = joined[basin_of]
        a, b = joined[edges.a], joined[edges.b]
        between = a != b
        edges = Edges(a[between], b[between], edges.key[between])
    return basin_of, edges


def _steepest(depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Direction of the highest neighbour of each pixel; its own without one within the block.

    Parameters
    ----------
    depth : uint16 (h + 2, w + 2), as in `find_basins`

    Returns
    -------
    ndarray
        uint16 (h, w), index in `DIRECTIONS`.
    """
    height, columns = depth.shape[0] - 2, depth.shape[1] - 2
    scaled = depth * np.uint16(16)
    keys = scaled[1:-1, 1:-1] + np.uint16(SELF)
    key = np.empty_like(keys)
    for number, (dy, dx) in enumerate(DIRECTIONS):
        if number != SELF:
            neighbour = scaled[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + columns]
            np.add(neighbour, np.uint16(number), out=key)
            np.maximum(keys, key, out=keys)
    direction: NDArray[np.uint16] = np.bitwise_and(keys, 15, out=keys)
    direction[depth[1:-1, 1:-1] == 0] = SELF
    direction[0, direction[0] < 3] = SELF
    direction[-1, direction[-1] > 5] = SELF
    direction[direction[:, 0] % 3 == 0, 0] = SELF
    direction[direction[:, -1] % 3 == 2, -1] = SELF
    return direction


def _followed(target: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the targets lead in the end; there are no circles."""
    while True:
        further = target.take(target)
        if np.array_equal(further, target):
            return target
        target = further
