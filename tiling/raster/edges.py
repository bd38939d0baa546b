"""The edges of objects in a label image."""

import numpy as np
from numpy.typing import NDArray


def inner_edges(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels of an object that have a 4-neighbour outside it; the border of the array is no edge.

    >>> inner_edges(np.array([[1, 1, 1, 2], [1, 1, 1, 2], [1, 1, 1, 2]])).astype(int)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [0, 0, 1, 1]])
    """
    edges = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        differs = labels[before] != labels[after]
        edges[before] |= differs
        edges[after] |= differs
    return np.asarray(edges & (labels != 0))
