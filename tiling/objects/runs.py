"""Runs of equal pixels: a block has far fewer of them than pixels, so that labels are joined, counted and kept run by run."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


class Runs(NamedTuple):
    """Rows of pixels with one value, in raster order; those of a whole block cover it.

    Attributes
    ----------
    value : (n,)
    y, x : int64 (n,), first pixel within the block
    length : int64 (n,)
    """

    value: NDArray[Any]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    length: NDArray[np.int64]

    def of(self, kept: NDArray[np.bool_]) -> "Runs":
        """Some of the runs."""
        return Runs(*(column[kept] for column in self))

    def painted(self, shape: tuple[int, int]) -> NDArray[Any]:
        """The block these runs cover, (h, w)."""
        return np.repeat(self.value, self.length).reshape(shape)

    def pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of every pixel, run after run."""
        ends = np.cumsum(self.length)
        along = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - self.length, self.length)
        return np.repeat(self.y, self.length), np.repeat(self.x, self.length) + along


def runs(values: NDArray[Any]) -> Runs:
    """Runs of a block (h, w), background and all.

    >>> [column.tolist() for column in runs(np.array([[0, 1, 1], [2, 2, 1]]))]
    [[0, 1, 2, 1], [0, 0, 1, 1], [0, 1, 0, 2], [1, 2, 2, 1]]
    """
    height, width = values.shape
    begins = np.ones(values.shape, bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    return _from_starts(np.flatnonzero(begins), values, (height, width))


def _from_starts(start: NDArray[np.int64], values: NDArray[Any], shape: tuple[int, int]) -> Runs:
    height, width = shape
    # Every row begins with a run.
    y = np.repeat(np.arange(height), np.diff(np.searchsorted(start, np.arange(height + 1) * width)))
    x = start - y * width
    return Runs(values[y, x], y, x, np.diff(start, append=height * width))


def connected(found: Runs) -> tuple[int, NDArray[np.int32]]:
    """8-connected pieces of runs, whatever their values: their number, and the piece of each run, int32 (n,), 1.. by first pixel.

    >>> connected(Runs(np.ones(3), np.array([0, 1, 1]), np.array([1, 0, 3]), np.array([1, 1, 1])))
    (2, array([1, 1, 2], dtype=int32))
    """
    count = len(found.y)
    if not count:
        return 0, np.zeros(0, np.int32)
    # Pixels row after row on one line, with a gap between rows: nothing reaches over from the end of one to the next.
    line = int((found.x + found.length).max()) + 2
    start = found.y * line + found.x
    stop = start + found.length
    # Of the row above, runs from the first that ends at or after a run's left neighbour to the last that begins at its right neighbour.
    first, last = (
        np.searchsorted(stop, start - line),
        np.searchsorted(start, stop - line, side="right"),
    )
    touching = np.maximum(last - first, 0)
    below = np.repeat(np.arange(count), touching)
    above = np.arange(len(below)) - np.repeat(np.cumsum(touching) - touching - first, touching)
    graph = coo_array((np.ones(len(below), np.int8), (above, below)), shape=(count, count))
    pieces, piece = connected_components(graph, directed=False)
    # Numbers by first pixel, whatever order SciPy counts in.
    first = np.empty(pieces, np.int64)
    first[piece[::-1]] = np.arange(count)[::-1]  # of several the last stays
    number = np.empty(pieces, np.int32)
    number[np.argsort(first)] = np.arange(1, pieces + 1)
    return int(pieces), number[piece]
