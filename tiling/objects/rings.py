"""Label image -> the rings of its outlines, all objects at once.

Every corner of an outline is found from the four pixels around a vertex of the pixel grid, with the direction in which the outline comes in
and goes out; inside lies to its right. Edges on one grid line with one direction do not overlap, whichever objects they belong to:
sorted along the line, the i-th beginning and the i-th end make an edge.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

# Kinds of corners, by the pixels around a vertex (a b over c d). Convex: the one pixel that is the object, d, c, a, b.
# Concave: the one pixel that is not, a, b, d, c. The place in this list is the kind's number.
_OUT = {"right": (0, 5), "down": (1, 6), "left": (2, 7), "up": (3, 4)}
_IN = {"right": (1, 4), "down": (2, 5), "left": (3, 6), "up": (0, 7)}


class Rings(NamedTuple):
    """Closed lines of pixel edges, corners only, each without its closing point.

    Attributes
    ----------
    label : int64 (r,), the object each belongs to
    points : int64 (n, 2), (x, y), ring after ring; outer contours run clockwise as seen on the image, holes anticlockwise
    length : int64 (r,), points of each
    """

    label: NDArray[np.int64]
    points: NDArray[np.int64]
    length: NDArray[np.int64]

    def of(self, labels: NDArray[np.int64]) -> "Rings":
        """The rings of some objects."""
        return self.select(np.isin(self.label, labels))

    def select(self, kept: NDArray[np.bool_]) -> "Rings":
        """Some of the rings."""
        return Rings(self.label[kept], self.points[np.repeat(kept, self.length)], self.length[kept])


def rings(labels: NDArray[np.integer[Any]]) -> Rings:
    """Rings of all objects, 4-connected; none of them touches itself.

    Parameters
    ----------
    labels : int (h, w), 0 is background

    >>> rings(np.array([[5, 5]])).points.tolist()
    [[0, 0], [2, 0], [2, 1], [0, 1]]
    """
    nothing = Rings(np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.int64))
    around = np.pad(labels, 1)
    y, x, (a, b, c, d) = _vertices(around)
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
        return nothing
    vertex, kind = corner >> 3, corner & 7
    label = np.stack([d, c, a, b], axis=1)[vertex, kind & 3].astype(np.int64)
    following = _edges(kinds, x, len(corner))
    order, first, length = _walk(following)
    found = Rings(label[first], np.stack([x[vertex], y[vertex]], axis=1)[order], length)
    # Two pixels of one object that touch at a corner only, and are connected elsewhere: its ring passes that vertex twice.
    pinched = (kinds[:, 0] & kinds[:, 2] & (a == d)) | (kinds[:, 1] & kinds[:, 3] & (b == c))
    return _parted(found, pinched[vertex][order]) if pinched.any() else found


def _vertices(
    around: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.integer[Any]]]]:
    """Vertices at which an outline may turn, in raster order: y, x, and the four pixels around each."""
    across, down = around[:, 1:] != around[:, :-1], around[1:] != around[:-1]
    turns = across[:-1] | across[1:]
    turns &= down[:, :-1] | down[:, 1:]
    width = around.shape[1]
    y, x = np.divmod(np.flatnonzero(turns), width - 1)
    place, pixels = y * width + x, around.ravel()
    return y, x, [pixels[place + step] for step in (0, 1, width, width + 1)]


def _edges(kinds: NDArray[np.bool_], x: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """The corner that follows each corner along its outline."""
    number = (np.cumsum(kinds, dtype=np.int32) - 1).reshape(kinds.shape)
    # Vertices are in raster order; up and down they are needed column by column.
    column = np.argsort(
        x.astype(np.int16) if int(x.max()) < np.iinfo(np.int16).max else x, kind="stable"
    )
    following = np.empty(count, np.int32)
    for direction, (convex, concave) in _OUT.items():
        pairs = []
        for one, other in ((convex, concave), _IN[direction]):
            here = kinds[:, one] | kinds[:, other]
            corners = np.where(kinds[:, one], number[:, one], number[:, other])
            pairs.append(
                corners[here] if direction in ("left", "right") else corners[column][here[column]]
            )
        following[pairs[0]] = pairs[1]
    return following


def _walk(
    following: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Corners ring after ring; the first corner of each ring, ascending; and its number of corners."""
    count = len(following)
    every = np.arange(count + 1, dtype=np.int32)

    def graph() -> csr_array:
        return csr_array((np.ones(count), following, every), shape=(count, count))

    total, ring = connected_components(graph(), directed=True, connection="strong")
    first = np.zeros(total, np.int64)
    first[ring[::-1]] = every[-2::-1]  # of several the last stays
    first = np.sort(first)
    before = np.empty(count, np.int32)
    before[following] = every[:-1]
    # All rings are opened and tied together: one line to walk along.
    following = following.copy()
    following[before[first[:-1]]] = first[1:]
    order = depth_first_order(graph(), int(first[0]), directed=True, return_predecessors=False)
    return order, first, np.bincount(ring, minlength=total)[ring[first]].astype(np.int64)


def _parted(found: Rings, pinched: NDArray[np.bool_]) -> Rings:
    """The same rings, those that pass a vertex twice cut in two there."""
    ends = np.cumsum(found.length)
    several = np.add.reduceat(pinched.astype(np.int64), ends - found.length) > 0
    rest = found.select(~several)
    label, points, length = [rest.label], [rest.points], [rest.length]
    for index in np.flatnonzero(several).tolist():
        loops = _loops(found.points[ends[index] - found.length[index] : ends[index]])
        label.append(np.repeat(found.label[index], len(loops)))
        points += loops
        length.append(np.array([len(loop) for loop in loops]))
    return Rings(np.concatenate(label), np.concatenate(points), np.concatenate(length))


def _loops(ring: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """A ring as loops that pass no vertex twice."""
    loops: list[NDArray[np.int64]] = []
    path: list[tuple[int, ...]] = []
    seen: dict[tuple[int, ...], int] = {}
    for point in map(tuple, ring.tolist()):
        if point in seen:
            start = seen[point]
            loops.append(np.array(path[start:], np.int64))
            for gone in path[start + 1 :]:
                del seen[gone]
            del path[start + 1 :]
        else:
            seen[point] = len(path)
            path.append(point)
    return [*loops, np.array(path, np.int64)]
