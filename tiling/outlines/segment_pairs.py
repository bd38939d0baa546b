"""How many pairs of segments of outlines may cross: what checks and repairs of them take.

The time of GEOS grows with the number of pairs of segments whose bounding boxes overlap. In a drawn
outline each segment has a few; in a star or a comb of n points there are n * n / 2 pairs, so that
a file of 100 kB would take minutes and gigabytes.
"""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

_PAIRS_PER_POINT, _MIN_PAIRS = 50, 5000
_CROSSINGS_PER_POINT, _MIN_CROSSINGS = 0.1, 50
_SEGMENTS_AT_ONCE = 64
_MIN_CHECKED_SEGMENTS = 200  # below it, all pairs take a millisecond


def has_too_many_pairs(*shapes: Any) -> bool:  # noqa: ANN401  # shapely
    """Whether so many segments lie side by side that a check of these shapes takes too long.

    >>> has_too_many_pairs(shapely.Point(0, 0).buffer(9, quad_segs=1000))
    False
    """
    if sum(map(shapely.get_num_coordinates, shapes)) < _MIN_CHECKED_SEGMENTS:
        return False
    segments = _segments(shapes)
    limit = _PAIRS_PER_POINT * len(segments) + _MIN_PAIRS
    return _most_pairs(segments) > limit and _count(segments, limit, crossing=False) > limit


def has_too_many_crossings(shape: Any) -> bool:  # noqa: ANN401  # shapely
    """Whether a shape crosses itself at so many places that a repair takes too long.

    A shape for which `has_too_many_pairs` is false is expected.
    """
    segments = _segments((shape,))
    limit = int(_CROSSINGS_PER_POINT * len(segments)) + _MIN_CROSSINGS
    return _count(segments, limit, crossing=True) > limit


def _segments(shapes: tuple[Any, ...]) -> NDArray[np.float64]:
    """Segments of the rings of shapes, (n, 2 points, 2)."""
    rings = shapely.get_rings(shapely.get_parts(np.array(shapes, object)))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    is_inside_ring = ring[:-1] == ring[1:]
    return np.asarray(np.stack([points[:-1], points[1:]], axis=1)[is_inside_ring], np.float64)


def _most_pairs(segments: NDArray[np.float64]) -> int:
    """Upper bound of the number of pairs whose boxes overlap: of those that overlap on one axis."""
    lowest, highest = np.sort(segments.min(axis=1), axis=0), np.sort(segments.max(axis=1), axis=0)
    count = len(segments)
    bounds = []
    for axis in range(2):
        # Two intervals are apart if one ends before the other one starts.
        apart = np.searchsorted(highest[:, axis], lowest[:, axis], side="left").sum()
        bounds.append(count * (count - 1) // 2 - int(apart))
    return min(bounds)


def _count(segments: NDArray[np.float64], limit: int, *, crossing: bool) -> int:
    """Number of pairs that overlap or cross, without neighbours; it stops above the limit."""
    lines = shapely.linestrings(segments)
    tree = shapely.STRtree(lines)
    pairs = 0
    for start in range(0, len(lines), _SEGMENTS_AT_ONCE):
        part = lines[start : start + _SEGMENTS_AT_ONCE]
        first, second = tree.query(part, predicate="intersects" if crossing else None)
        pairs += int((second > first + start + 1).sum())
        if pairs > limit:
            break
    return pairs
