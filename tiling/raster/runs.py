"""Runs of equal pixels in the rows of a block.

A block has far fewer runs than pixels, so labels are joined, counted and stored run by run.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


class Runs(NamedTuple):
    """Horizontal runs of pixels with one value, in raster order.

    Attributes
    ----------
    value : (n,), value of the pixels of each run
    y, x : int64 (n,), first pixel within the block
    length : int64 (n,), number of pixels
    """

    value: NDArray[Any]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    length: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_]) -> "Runs":
        """Some of the runs; chosen : bool (n,)."""
        return Runs(*(column[chosen] for column in self))

    def to_array(self, shape: tuple[int, int]) -> NDArray[Any]:
        """The block (h, w), for runs that cover all of it."""
        return np.repeat(self.value, self.length).reshape(shape)

    def pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of all pixels, run after run."""
        ends = np.cumsum(self.length)
        offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(
            ends - self.length, self.length
        )
        return np.repeat(self.y, self.length), np.repeat(self.x, self.length) + offset


def find_runs(values: NDArray[Any]) -> Runs:
    """Runs of a block (h, w), background included.

    >>> [column.tolist() for column in find_runs(np.array([[0, 1, 1], [2, 2, 1]]))]
    [[0, 1, 2, 1], [0, 0, 1, 1], [0, 1, 0, 2], [1, 2, 2, 1]]
    """
    height, width = values.shape
    begins = np.ones(values.shape, bool)  # each row begins with a run
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins)
    runs_before_row = np.searchsorted(start, np.arange(height + 1) * width)
    y = np.repeat(np.arange(height), np.diff(runs_before_row))
    x = start - y * width
    return Runs(values[y, x], y, x, np.diff(start, append=height * width))


def connect_runs(
    runs: Runs, *, diagonal: bool = True, one_value: bool = False
) -> tuple[int, NDArray[np.int32]]:
    """Components of runs.

    Parameters
    ----------
    diagonal : components are 8-connected; otherwise 4-connected
    one_value : a component has one value; otherwise values do not count

    Returns
    -------
    int
        Number of components.
    ndarray
        int32 (n,), component of each run, numbered from 1 by first pixel.

    >>> ones = np.ones(3, int)
    >>> connect_runs(Runs(ones, np.array([0, 1, 1]), np.array([1, 0, 3]), ones))
    (2, array([1, 1, 2], dtype=int32))
    """
    count = len(runs.y)
    if not count:
        return 0, np.zeros(0, np.int32)
    # Positions along one line: row after row, with a gap between rows that no run bridges.
    row_px = int((runs.x + runs.length).max()) + 2
    start = runs.y * row_px + runs.x
    stop = start + runs.length
    # A run touches the runs of the row above from the first that ends at or after its left
    # neighbour, to the last that begins at or before its right neighbour. Without diagonals, it
    # touches those with which it shares a column.
    first_touching = np.searchsorted(stop, start - row_px, side="left" if diagonal else "right")
    after_touching = np.searchsorted(start, stop - row_px, side="right" if diagonal else "left")
    touching = np.maximum(after_touching - first_touching, 0)
    below = np.repeat(np.arange(count), touching)
    first_pair = np.cumsum(touching) - touching
    above = np.arange(len(below)) - np.repeat(first_pair - first_touching, touching)
    if one_value:
        joined = runs.value[above] == runs.value[below]
        above, below = above[joined], below[joined]
    graph = coo_array((np.ones(len(below), np.int8), (above, below)), shape=(count, count))
    components, component = connected_components(graph, directed=False)
    # SciPy does not promise an order: number the components by their first pixel.
    first_run = np.empty(components, np.int64)
    first_run[component[::-1]] = np.arange(count)[::-1]  # the last assignment wins
    number = np.empty(components, np.int32)
    number[np.argsort(first_run)] = np.arange(1, components + 1)
    return int(components), number[component]
