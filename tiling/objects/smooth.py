"""Outlines without pixel steps, in which neighbours still share their border exactly.

The corners of an outline are points of the pixel grid. Each point moves by less than half a pixel,
by an amount that depends only on the *arc* through it: a piece of border between two points at
which more than two areas meet, or a whole ring. An arc between two glands is therefore moved
equally in both outlines. Every second point of the grid is then left out.

Outlines never cross each other or themselves: two pieces that share no point are at least
sqrt(1/2) pixels apart before, and each moves by at most 0.33 pixels. An outline does not pass the
centre of a pixel either, so that it covers the same pixels as before. Each arc keeps the area on
both of its sides within 0.002 of its length; no gland has more than four edges per pixel, so that
each keeps its area within 0.8 %.
"""

from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.raster.geometry import blocks
from tiling.stores.arrays import SHARD_PX

MAX_BOUND_PX = 0.45
_SHIFT_SHARE = 0.73  # of the bound, by which a point may move
# Share of the bound within which a point is left out; the rest is for the correction of areas.
_NEAR_SHARE = 0.85
_ROUNDS = 6
_CORRECTIONS = 3
_MIN_ARC_EDGES = 8
_AREA_PER_EDGE = 2e-3
_MIN_RING_POINTS = 4
# Points move by multiples of this. Sums over an arc are then exact, and equal from both sides.
_STEPS_PER_PX = 4096.0

Points = NDArray[np.float64]  # (n, 2), x and y
Indices = NDArray[np.int64]


class _GridRings(NamedTuple):
    """Rings with all their points on the pixel grid, one pixel apart.

    Attributes
    ----------
    points : float64 (n, 2)
    ring : int64 (n,), ring of each point, ascending
    is_fixed : bool (n,), ends of arcs
    arc : int64 (n,), arc of the edge from each point to the following one
    """

    points: Points
    ring: Indices
    is_fixed: NDArray[np.bool_]
    arc: Indices


def junction_points(
    labels: Any,  # noqa: ANN401  # zarr or numpy array
    *,
    block_px: int = SHARD_PX,
) -> Indices:
    """Points of the pixel grid at which more than two borders meet, inside the image.

    The labels are read block by block.

    Parameters
    ----------
    labels : int (y, x)
    block_px : side of the blocks; the result does not depend on it

    Returns
    -------
    int64 (n,)
        y (width + 1) + x of each point, ascending.
    """
    height, width = labels.shape
    junctions = [np.zeros(0, np.int64)]
    for rows, columns in blocks(height, width, block_px):
        part = np.asarray(labels[rows.start : rows.stop + 1, columns.start : columns.stop + 1])
        if not part.any():
            continue
        across, down = part[:, 1:] != part[:, :-1], part[1:] != part[:-1]
        borders = across[:-1].astype(np.uint8) + across[1:] + down[:, :-1] + down[:, 1:]
        y, x = np.nonzero(borders > 2)
        junctions.append((y + rows.start + 1) * (width + 1) + x + columns.start + 1)
    return np.sort(np.concatenate(junctions))


def smooth_outlines(
    shapes: NDArray[np.object_],
    junctions: Indices,
    shape_px: tuple[int, int],
    *,
    bound_px: float,
) -> NDArray[np.object_]:
    """Outlines without pixel steps.

    Parameters
    ----------
    shapes : object (n,), exact outlines in stored pixel edges
    junctions : see `junction_points`; of the whole image
    shape_px : (height, width) of the image; outlines at its border keep their pixel edges there
    bound_px : largest Hausdorff distance between an outline and the exact one; more than
        `MAX_BOUND_PX` has no effect

    Returns
    -------
    object (n,)
        An arc of less than 8 pixels, and one that cannot keep the areas on its sides, is exact.
    """
    if not len(shapes):
        return shapes
    bound_px = min(bound_px, MAX_BOUND_PX)
    parts, shape_of_part = shapely.get_parts(shapes, return_index=True)
    lines, part_of_ring = shapely.get_rings(parts, return_index=True)
    rings = _points_on_grid(lines, junctions, shape_px)
    moved, is_kept = _move_points(rings, bound_px)
    is_kept = _without_straight_points(rings, moved, is_kept)
    smoothed = shapely.polygons(
        shapely.linearrings(moved[is_kept], indices=rings.ring[is_kept]), indices=part_of_ring
    )
    result = np.empty(len(shapes), object)
    start = np.searchsorted(shape_of_part, np.arange(len(shapes)))
    result[:] = smoothed[start]
    for index in np.flatnonzero(shapely.get_num_geometries(shapes) > 1):
        result[index] = shapely.MultiPolygon(list(smoothed[shape_of_part == index]))
    return np.asarray(shapely.normalize(result), object)


def _points_on_grid(
    lines: NDArray[np.object_], junctions: Indices, shape_px: tuple[int, int]
) -> _GridRings:
    """All points of the pixel grid along rings whose corners are given."""
    corners, ring = shapely.get_coordinates(lines, return_index=True)
    is_edge = ring[:-1] == ring[1:]
    start, step = corners[:-1][is_edge], np.diff(corners, axis=0)[is_edge]
    length = np.abs(step).sum(axis=1).astype(np.int64)
    edge = np.repeat(np.arange(len(length)), length)
    along = np.arange(len(edge)) - (np.cumsum(length) - length)[edge]
    points = start[edge] + np.sign(step)[edge] * along[:, None]
    ring = ring[:-1][is_edge][edge].astype(np.int64)
    height, width = shape_px
    x, y = points.astype(np.int64).T
    is_fixed = _contains(junctions, y * (width + 1) + x)
    is_fixed |= (x == 0) | (y == 0) | (x == width) | (y == height)
    return _GridRings(points, ring, is_fixed, _arcs(ring, is_fixed))


def _arcs(ring: Indices, is_fixed: NDArray[np.bool_]) -> Indices:
    """Arc of the edge from each point to the following one."""
    last = np.flatnonzero(np.append(ring[1:] != ring[:-1], True))
    first = np.append(0, last[:-1] + 1)
    is_start = is_fixed.copy()
    is_start[first] = True
    arc = np.cumsum(is_start) - 1
    # The edges before the first fixed point of a ring belong to the arc at the end of the ring.
    renamed = np.arange(int(arc[-1]) + 1)
    has_fixed = np.bincount(ring, is_fixed)[ring[first]] > 0
    continues = has_fixed & ~is_fixed[first]
    renamed[arc[first[continues]]] = arc[last[continues]]
    return np.asarray(renamed[arc], np.int64)


def _contains(ascending: Indices, values: Indices) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[place] == values)


def _neighbours(ring: Indices) -> tuple[Indices, Indices]:
    """Position of the following and of the last point along the ring of each point.

    >>> [positions.tolist() for positions in _neighbours(np.array([0, 0, 0, 4, 4]))]
    [[1, 2, 0, 4, 3], [2, 0, 1, 4, 3]]
    """
    last = np.flatnonzero(np.append(ring[1:] != ring[:-1], True))
    first = np.append(0, last[:-1] + 1)
    following = np.arange(1, len(ring) + 1)
    following[last] = first
    before = np.arange(-1, len(ring) - 1)
    before[first] = last
    return following, before


def _move_points(rings: _GridRings, bound_px: float) -> tuple[Points, NDArray[np.bool_]]:
    """Where the points are after smoothing, and which of them are kept, bool (n,)."""
    points, is_free = rings.points, ~rings.is_fixed
    following, before = _neighbours(rings.ring)
    moved = points.copy()
    last = np.flatnonzero(following <= np.arange(len(points)))
    first = following[last]
    share = np.where(is_free, 0.5, 0)[:, None]
    for _ in range(_ROUNDS):
        # Slices are several times as fast as indices; they are wrong at the ends of rings only.
        mean = np.empty_like(moved)
        np.add(moved[:-2], moved[2:], out=mean[1:-1])
        mean[first] = moved[last] + moved[following[first]]
        mean[last] = moved[before[last]] + moved[first]
        mean /= 2
        moved += (mean - moved) * share
    shift_px = bound_px * _SHIFT_SHARE
    moved = _limited(points, moved, shift_px)
    # Neighbours on the grid differ in the parity of x + y: seen from both ends of an arc, the same
    # points are left out.
    is_kept = (points.sum(axis=1) % 2 == 0) | rings.is_fixed
    is_kept |= _distance(points, moved[before], moved[following]) > bound_px * _NEAR_SHARE
    arc, edges = rings.arc, np.bincount(rings.arc)
    origin = np.full((len(edges), 2), np.inf)
    np.minimum.at(origin, arc, np.minimum(points, points[following]))
    twice_exact_area = _twice_area(points, points[following], arc, origin)
    kept, kept_arc = np.flatnonzero(is_kept), arc[is_kept]
    next_kept, last_kept = (kept[position] for position in _neighbours(rings.ring[kept]))
    for _ in range(_CORRECTIONS):
        tangent = moved[next_kept] - moved[last_kept]
        tangent[rings.is_fixed[kept]] = 0
        missing_twice_area = twice_exact_area - _twice_area(
            moved[kept], moved[next_kept], kept_arc, origin
        )
        squares = np.bincount(kept_arc, (tangent**2).sum(axis=1), len(edges))
        correction = missing_twice_area / np.maximum(squares, 1)
        moved[kept] += correction[kept_arc][:, None] * tangent[:, ::-1] * [1, -1]
        moved = _limited(points, moved, shift_px)
    is_kept |= _distance(points, moved[before], moved[following]) > bound_px
    kept = np.flatnonzero(is_kept)
    next_kept = kept[_neighbours(rings.ring[kept])[0]]
    missing_twice_area = twice_exact_area - _twice_area(
        moved[kept], moved[next_kept], arc[kept], origin
    )
    is_exact = (np.abs(missing_twice_area) / 2 > _AREA_PER_EDGE * edges) | (edges < _MIN_ARC_EDGES)
    is_exact_point = is_exact[arc] & is_free
    moved[is_exact_point] = points[is_exact_point]
    return moved, is_kept | is_exact_point


def _limited(points: Points, moved: Points, most_px: float) -> Points:
    """The moved points, at most a distance away from where they were, and in fixed steps."""
    shift = moved - points
    length = np.sqrt((shift**2).sum(axis=1))
    shift *= np.minimum(1, most_px / np.maximum(length, most_px))[:, None]
    return points + np.trunc(shift * _STEPS_PER_PX) / _STEPS_PER_PX


def _distance(points: Points, start: Points, end: Points) -> NDArray[np.float64]:
    """Distance of each point to the line from start to end."""
    chord, offset = end - start, points - start
    cross = chord[:, 0] * offset[:, 1] - chord[:, 1] * offset[:, 0]
    length = np.sqrt((chord**2).sum(axis=1))
    # Where start and end are equal, the ring turns back: the point must stay.
    return np.where(length > 0, np.abs(cross) / np.maximum(length, 1e-9), np.inf)


def _twice_area(start: Points, end: Points, arc: Indices, origin: Points) -> NDArray[np.float64]:
    """Twice the signed area between each arc and its origin, by the shoelace formula."""
    start, end = start - origin[arc], end - origin[arc]
    cross = start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1]
    return np.asarray(np.bincount(arc, cross, len(origin)))


def _without_straight_points(
    rings: _GridRings, moved: Points, is_kept: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Leave out points exactly on the line between their neighbours, bool (n,)."""
    kept = np.flatnonzero(is_kept)
    following, before = _neighbours(rings.ring[kept])
    points = moved[kept]
    a, b = points[before] - points, points[following] - points
    turns = a[:, 0] * b[:, 1] != a[:, 1] * b[:, 0]
    turns_of_ring = np.bincount(rings.ring[kept], turns)
    turns |= turns_of_ring[rings.ring[kept]] < _MIN_RING_POINTS
    result = is_kept.copy()
    result[kept[~turns]] = False
    return result
