"""Basins of a depth map: the parts of a mask around the local maxima of the depth.

Split by prominence (docs/architecture.md, "The split rule"). Pixels are ordered by depth, then by
position; pairs of neighbouring pixels by their lower pixel, then by their higher one. So no two
pixels or pairs are equal, and the maximum spanning forest of the pixels is unique. Each pixel
belongs to the basin of its highest neighbour, and a basin that is no seed to the one beyond its
highest saddle: both are edges of that forest, so they can be found in any order.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Bits of the keys of pixels (depth, position) and of edges (depth and position of the lower pixel,
# depth of the higher one, direction from the lower to the higher one).
_POSITION_BITS, _DEPTH_BITS, _DIRECTION_BITS = 39, 10, 4
_LOWER_SHIFT = _DEPTH_BITS + _DIRECTION_BITS
_SADDLE_SHIFT = _LOWER_SHIFT + _POSITION_BITS
_DIRECTIONS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]  # in order of positions
_SELF = 4


class Edges(NamedTuple):
    """Pairs of basins that touch.

    Attributes
    ----------
    a, b : int32 (n,), basins from 1
    key : int64 (n,), order of the pairs of pixels; its highest bits are the depth of the saddle
    """

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    key: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "Edges":
        """Some of the edges."""
        return Edges(self.a[chosen], self.b[chosen], self.key[chosen])


class Basins(NamedTuple):
    """Basins of an image or a block.

    Attributes
    ----------
    numbers : int32 (h, w), basin 1..n of each pixel, 0 outside the mask
    edges : between basins
    """

    numbers: NDArray[np.int32]
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
    height, columns = depth.shape[0] - 2, depth.shape[1] - 2
    own = depth[1:-1, 1:-1]
    keys = own * np.uint16(16) + np.uint16(_SELF)
    for number, (dy, dx) in enumerate(_DIRECTIONS):
        if number != _SELF:
            neighbour = depth[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + columns]
            np.maximum(keys, neighbour * np.uint16(16) + np.uint16(number), out=keys)
    direction = keys & np.uint16(15)
    direction[own == 0] = _SELF
    _stop_at_sides(direction)
    offsets = np.array([dy * columns + dx for dy, dx in _DIRECTIONS], np.int32)
    target = np.arange(own.size, dtype=np.int32) + offsets[direction.ravel()]
    target = _followed(target)
    is_root = (direction == _SELF) & (own > 0)
    number_of_root = np.cumsum(is_root.ravel(), dtype=np.int32)
    numbers = np.where(own.ravel() > 0, number_of_root[target], np.int32(0))
    numbers = numbers.reshape(own.shape)
    return Basins(numbers, _edges(numbers, own, place, columns if width is None else width))


def basin_heights(
    numbers: NDArray[np.int32],
    depth: NDArray[np.uint16],
    confident: NDArray[np.bool_],
    *,
    place: tuple[int, int] = (0, 0),
    width: int | None = None,
) -> NDArray[np.int64]:
    """Key of the highest confident pixel of each basin, int64 (n + 1,); see `height_depth`.

    Parameters
    ----------
    numbers : int32 (h, w), basins, see `find_basins`
    depth : uint16 (h, w)
    confident : bool (h, w)
    place, width : as in `find_basins`
    """
    columns = numbers.shape[1]
    pixels = np.flatnonzero((numbers > 0) & confident)
    position = _positions(pixels, columns, place, columns if width is None else width)
    heights = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    key = (depth.ravel()[pixels].astype(np.int64) << _POSITION_BITS) | position
    np.maximum.at(heights, numbers.ravel()[pixels], key)
    return heights


def height_depth(heights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Depth of the pixels of these keys; 0 for basins without a confident pixel."""
    return heights >> _POSITION_BITS


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
        Those between the basins that stayed, the highest one of each pair.
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
        prominence = height_depth(heights[basin]) - (edges.key[edge] >> _SADDLE_SHIFT)
        joins = (order[basin] < order[other]) & (prominence < min_prominence)
        if not joins.any():
            break
        step = np.arange(len(heights), dtype=np.int32)
        step[basin[joins]] = other[joins]
        step = _followed(step)
        basin_of = step[basin_of]
        a, b = step[edges.a], step[edges.b]
        between = a != b
        edges = Edges(a[between], b[between], edges.key[between])
    return basin_of, _highest_of_each_pair(edges)


def _stop_at_sides(direction: NDArray[np.uint16]) -> None:
    """Let pixels that point out of the block point to themselves, in place."""
    direction[0, direction[0] < 3] = _SELF
    direction[-1, direction[-1] > 5] = _SELF
    direction[direction[:, 0] % 3 == 0, 0] = _SELF
    direction[direction[:, -1] % 3 == 2, -1] = _SELF


def _followed(target: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where the targets lead in the end; there are no circles."""
    while True:
        further = target[target]
        if np.array_equal(further, target):
            return target
        target = further


def _positions(
    pixels: NDArray[np.int64], columns: int, place: tuple[int, int], width: int
) -> NDArray[np.int64]:
    """Positions in the image of pixels y * columns + x of a block."""
    y, x = np.divmod(pixels, columns)
    positions: NDArray[np.int64] = (y + place[0]) * width + x + place[1]
    return positions


def _edges(
    numbers: NDArray[np.int32], depth: NDArray[np.uint16], place: tuple[int, int], width: int
) -> Edges:
    """Pairs of neighbouring pixels of different basins."""
    height, columns = numbers.shape
    flat, levels = numbers.ravel(), depth.ravel()
    parts = []
    for dy, dx in _DIRECTIONS[_SELF + 1 :]:
        rows, left = slice(0, height - dy), slice(max(-dx, 0), columns - max(dx, 0))
        here = numbers[rows, left]
        there = numbers[dy:, max(dx, 0) : columns + min(dx, 0)]
        pair = (here != there) & (here > 0) & (there > 0)
        y, x = np.nonzero(pair)
        pixel = (y * columns + x + left.start).astype(np.int64)
        other = pixel + dy * columns + dx
        key = edge_keys(
            levels[pixel], levels[other], _positions(pixel, columns, place, width), (dy, dx), width
        )
        parts.append(Edges(flat[pixel], flat[other], key))
    return Edges(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def edge_keys(
    depth: NDArray[np.uint16],
    other_depth: NDArray[np.uint16],
    position: NDArray[np.int64],
    step: tuple[int, int],
    width: int,
) -> NDArray[np.int64]:
    """Keys of pairs of neighbouring pixels.

    Parameters
    ----------
    depth, other_depth : uint16 (n,), of the first pixel and of the other one
    position : int64 (n,), of the first pixel in the image
    step : (dy, dx) from the first to the other pixel, which follows it in raster order
    width : of the image
    """
    direction = _DIRECTIONS.index(step)
    first_is_lower = depth <= other_depth
    lower = np.where(first_is_lower, position, position + step[0] * width + step[1])
    key = np.minimum(depth, other_depth).astype(np.int64) << _SADDLE_SHIFT
    key |= lower << _LOWER_SHIFT
    key |= np.maximum(depth, other_depth).astype(np.int64) << _DIRECTION_BITS
    key |= np.where(first_is_lower, direction, 2 * _SELF - direction)
    return key


def _highest_of_each_pair(edges: Edges) -> Edges:
    """One edge, the one with the highest key, of each pair of basins; edges are sorted by key."""
    low, high = np.minimum(edges.a, edges.b), np.maximum(edges.a, edges.b)
    pair = (low.astype(np.int64) << 32) | high
    _, last = np.unique(pair[::-1], return_index=True)
    return edges.select(len(pair) - 1 - last)
