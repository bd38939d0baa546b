"""Edges between the basins of a depth map, and the order of its pixels.

Pixels are ordered by depth, then by position; pairs of neighbouring pixels by their lower pixel,
then by their higher one. So no two pixels or pairs are equal, and neither order depends on blocks.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

# Bits of the keys of pixels (depth, position) and of edges (depth and position of the lower pixel,
# depth of the higher one, direction from the lower to the higher one).
_POSITION_BITS, _DEPTH_BITS, _DIRECTION_BITS = 39, 10, 4
_LOWER_SHIFT = _DEPTH_BITS + _DIRECTION_BITS
_SADDLE_SHIFT = _LOWER_SHIFT + _POSITION_BITS
DIRECTIONS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]  # in order of positions
SELF = 4


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


def pixel_keys(depth: NDArray[np.uint16], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys in the order of the pixels, int64 (n,).

    Parameters
    ----------
    depth : uint16 (n,)
    positions : int64 (n,), see `image_positions`
    """
    keys: NDArray[np.int64] = (depth.astype(np.int64) << _POSITION_BITS) | positions
    return keys


def pixel_depths(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Depth of the pixels of these keys; key 0 has depth 0."""
    return keys >> _POSITION_BITS


def saddle_depths(edge_keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Depth of the lower pixel of edges."""
    return edge_keys >> _SADDLE_SHIFT


def image_positions(
    pixels: NDArray[np.integer[Any]], columns: int, place: tuple[int, int], width: int
) -> NDArray[np.int64]:
    """Positions in the image of pixels y * columns + x of a block."""
    y, x = np.divmod(pixels.astype(np.int64), columns)
    positions: NDArray[np.int64] = (y + place[0]) * width + x + place[1]
    return positions


def edges_between(
    numbers: NDArray[np.int32], depth: NDArray[np.uint16], place: tuple[int, int], width: int
) -> Edges:
    """Pairs of neighbouring pixels of different basins.

    Parameters
    ----------
    numbers : int32 (h, w), basins, 0 outside the mask
    depth : uint16 (h, w)
    place, width : as in `find_basins`
    """
    height, columns = numbers.shape
    flat, depths, inside = numbers.ravel(), depth.ravel(), numbers > 0
    parts = []
    for dy, dx in DIRECTIONS[SELF + 1 :]:
        first = np.s_[: height - dy, max(-dx, 0) : columns - max(dx, 0)]
        second = np.s_[dy:, max(dx, 0) : columns + min(dx, 0)]
        is_pair = numbers[first] != numbers[second]
        is_pair &= inside[first]
        is_pair &= inside[second]
        y, x = np.divmod(np.flatnonzero(is_pair), columns - abs(dx))
        pixel = y * columns + x + max(-dx, 0)
        other = pixel + (dy * columns + dx)
        position = (y + place[0]) * width + (x + max(-dx, 0) + place[1])
        key = _edge_keys(depths[pixel], depths[other], position, (dy, dx), width)
        parts.append(Edges(flat[pixel], flat[other], key))
    return Edges(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _edge_keys(
    depth: NDArray[np.uint16],
    other_depth: NDArray[np.uint16],
    position: NDArray[np.int64],
    step: tuple[int, int],
    width: int,
) -> NDArray[np.int64]:
    """Keys of pairs of neighbouring pixels, the second one at a step after the first."""
    direction = DIRECTIONS.index(step)
    first_is_lower = depth <= other_depth
    lower = np.where(first_is_lower, position, position + step[0] * width + step[1])
    key = np.minimum(depth, other_depth).astype(np.int64) << _SADDLE_SHIFT
    key |= lower << _LOWER_SHIFT
    key |= np.maximum(depth, other_depth).astype(np.int64) << _DIRECTION_BITS
    key |= np.where(first_is_lower, direction, 2 * SELF - direction)
    return key


def forest_edges(edges: Edges) -> Edges:
    """Edges of the maximum spanning forest of the basins; the others never join basins.

    >>> key = np.array([30, 10, 20, 40]) << _SADDLE_SHIFT
    >>> edges = Edges(np.array([1, 1, 2, 2]), np.array([2, 3, 3, 1]), key)
    >>> (forest_edges(edges).key >> _SADDLE_SHIFT).tolist()
    [20, 40]
    """
    edges = edges.select(np.argsort(edges.key))
    low, high = np.minimum(edges.a, edges.b), np.maximum(edges.a, edges.b)
    pair = (low.astype(np.int64) << 32) | high
    # The highest edge of each pair: SciPy would add the weights of several.
    pairs, last = np.unique(pair[::-1], return_index=True)
    if not len(pairs):
        return edges
    basins, ends = np.unique(
        np.concatenate([pairs >> 32, pairs & (2**32 - 1)]), return_inverse=True
    )
    # SciPy searches the minimum, and takes weight 0 for no edge.
    weight = 1.0 + last
    graph = coo_array((weight, tuple(ends.reshape(2, -1))), shape=(len(basins),) * 2)
    chosen = minimum_spanning_tree(graph.tocsr()).data.astype(np.int64)
    return edges.select(np.sort(len(pair) - chosen))
