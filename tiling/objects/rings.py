"""Label image -> the rings (closed lines of pixel edges) of all objects at once.

The corners of the outlines are found from the four pixels around each vertex of the pixel grid. The
kind of a corner gives the directions in which the outline enters and leaves the vertex; the object
is to the right of its outline. Two edges of the same direction on the same grid line never overlap,
even if they belong to different objects. Therefore, in order along the line, the i-th start and the
i-th end are one edge.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

# The four pixels around a vertex are named a b (upper row) and c d (lower row). There are eight
# kinds of corners. Kinds 0 to 3 are convex: d, c, a or b is the only pixel of the object. Kinds 4
# to 7 are concave: a, b, d or c is the only pixel outside the object.
# Direction -> the convex and the concave kind at which an edge of that direction starts, or ends.
_STARTS = {"right": (0, 5), "down": (1, 6), "left": (2, 7), "up": (3, 4)}
_ENDS = {"right": (1, 4), "down": (2, 5), "left": (3, 6), "up": (0, 7)}


class Rings(NamedTuple):
    """Closed lines of pixel edges; only the corners are stored, without the closing point.

    Attributes
    ----------
    label : int64 (r,), the object that each ring belongs to
    points : int64 (n, 2), corners (x, y), ring after ring; on the screen (y points down) outer
        contours run clockwise, holes anticlockwise
    point_count : int64 (r,), number of points of each ring
    """

    label: NDArray[np.int64]
    points: NDArray[np.int64]
    point_count: NDArray[np.int64]

    def with_labels(self, labels: NDArray[np.int64]) -> "Rings":
        """The rings of the objects with these labels."""
        return self.select(np.isin(self.label, labels))

    def select(self, chosen: NDArray[np.bool_]) -> "Rings":
        """The chosen rings; `chosen` is bool (r,)."""
        points = self.points[np.repeat(chosen, self.point_count)]
        return Rings(self.label[chosen], points, self.point_count[chosen])


def find_rings(labels: NDArray[np.integer[Any]]) -> Rings:
    """Rings of all objects, traced with 4-connectivity; no ring touches itself.

    Parameters
    ----------
    labels : int (h, w), 0 is background

    >>> find_rings(np.array([[5, 5]])).points.tolist()
    [[0, 0], [2, 0], [2, 1], [0, 1]]
    """
    y, x, (a, b, c, d) = _find_vertices(np.pad(labels, 1))
    ab, ac, bd, cd = a != b, a != c, b != d, c != d
    kinds = np.stack(
        [
            (d > 0) & bd & cd,
            (c > 0) & ac & cd,
            (a > 0) & ab & ac,
            (b > 0) & ab & bd,
            (d > 0) & ab & ~bd & ~cd,
            (c > 0) & ab & ~ac & ~cd,
            (a > 0) & bd & ~ab & ~ac,
            (b > 0) & ac & ~ab & ~bd,
        ],
        axis=1,
    )
    corner = np.flatnonzero(kinds)
    if not len(corner):
        return Rings(np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.int64))
    vertex, kind = corner >> 3, corner & 7
    label = np.stack([d, c, a, b], axis=1)[vertex, kind & 3].astype(np.int64)
    successor = _next_corners(kinds, x, len(corner))
    order, first, point_count = _order_by_ring(successor)
    points = np.stack([x[vertex], y[vertex]], axis=1)[order]
    rings = Rings(label[first], points, point_count)
    # Where two pixels of an object touch at a corner only, its ring may pass the vertex twice.
    diagonal = (kinds[:, 0] & kinds[:, 2] & (a == d)) | (kinds[:, 1] & kinds[:, 3] & (b == c))
    return _split_rings(rings, diagonal[vertex][order]) if diagonal.any() else rings


def _find_vertices(
    padded: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.integer[Any]]]]:
    """Vertices at which an outline may turn, in raster order: y, x, and the four pixels around."""
    across, down = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    turns = across[:-1] | across[1:]
    turns &= down[:, :-1] | down[:, 1:]
    width = padded.shape[1]
    y, x = np.divmod(np.flatnonzero(turns), width - 1)
    upper_left, pixels = y * width + x, padded.ravel()
    return y, x, [pixels[upper_left + step] for step in (0, 1, width, width + 1)]


def _next_corners(kinds: NDArray[np.bool_], x: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """For each corner, the corner that follows it along its outline."""
    number = (np.cumsum(kinds, dtype=np.int32) - 1).reshape(kinds.shape)
    # Vertices are in raster order. Vertical edges need them column by column.
    by_column = np.argsort(
        x.astype(np.int16) if int(x.max()) < np.iinfo(np.int16).max else x, kind="stable"
    )
    successor = np.empty(count, np.int32)
    for direction, start_kinds in _STARTS.items():
        is_horizontal = direction in ("left", "right")
        starts_and_ends = []
        for convex, concave in (start_kinds, _ENDS[direction]):
            has_corner = kinds[:, convex] | kinds[:, concave]
            corners = np.where(kinds[:, convex], number[:, convex], number[:, concave])
            starts_and_ends.append(
                corners[has_corner] if is_horizontal else corners[by_column][has_corner[by_column]]
            )
        starts, ends = starts_and_ends
        # An edge that runs left or up ends before it starts in this order. The i-th start still
        # belongs to the i-th end.
        successor[starts] = ends
    return successor


def _order_by_ring(
    successor: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Corners in the order along their rings.

    Returns
    -------
    order : int32 (n,), all corners, ring after ring
    first : int64 (r,), the first corner of each ring, ascending
    point_count : int64 (r,), number of corners of each ring
    """
    count = len(successor)
    corners = np.arange(count + 1, dtype=np.int32)

    def graph() -> csr_array:
        return csr_array((np.ones(count), successor, corners), shape=(count, count))

    total, ring = connected_components(graph(), directed=True, connection="strong")
    first = np.zeros(total, np.int64)
    first[ring[::-1]] = corners[-2::-1]  # the last assignment wins
    first = np.sort(first)
    predecessor = np.empty(count, np.int32)
    predecessor[successor] = corners[:-1]
    # Each ring is opened, and its end is connected to the start of the next ring. A depth-first
    # search along this one line visits all corners in order.
    successor = successor.copy()
    successor[predecessor[first[:-1]]] = first[1:]
    order = depth_first_order(graph(), int(first[0]), directed=True, return_predecessors=False)
    return order, first, np.bincount(ring, minlength=total)[ring[first]].astype(np.int64)


def _split_rings(rings: Rings, is_diagonal: NDArray[np.bool_]) -> Rings:
    """The same rings; those that pass a vertex twice are split there.

    Parameters
    ----------
    is_diagonal : bool (n,), points at which two pixels of an object touch at a corner only
    """
    ends = np.cumsum(rings.point_count)
    starts = ends - rings.point_count
    may_touch = np.add.reduceat(is_diagonal.astype(np.int64), starts) > 0
    simple = rings.select(~may_touch)
    label, points, point_count = [simple.label], [simple.points], [simple.point_count]
    for index in np.flatnonzero(may_touch).tolist():
        loops = _split_loops(rings.points[starts[index] : ends[index]])
        label.append(np.repeat(rings.label[index], len(loops)))
        points += loops
        point_count.append(np.array([len(loop) for loop in loops]))
    return Rings(np.concatenate(label), np.concatenate(points), np.concatenate(point_count))


def _split_loops(ring: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split a ring into loops that pass no vertex twice.

    >>> ring = np.array([[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1]])
    >>> [loop.tolist() for loop in _split_loops(ring)]
    [[[1, 1], [2, 1], [2, 2], [1, 2]], [[0, 0], [1, 0], [1, 1], [0, 1]]]
    """
    loops: list[NDArray[np.int64]] = []
    path: list[tuple[int, ...]] = []
    index_in_path: dict[tuple[int, ...], int] = {}
    for point in map(tuple, ring.tolist()):
        if point in index_in_path:
            start = index_in_path[point]
            loops.append(np.array(path[start:], np.int64))
            for removed in path[start + 1 :]:
                del index_in_path[removed]
            del path[start + 1 :]
        else:
            index_in_path[point] = len(path)
            path.append(point)
    return [*loops, np.array(path, np.int64)]
