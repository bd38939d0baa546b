"""Growth of seeds inside a mask, and what touches what."""

import numpy as np
from numpy.typing import NDArray

_BIG = np.iinfo(np.int32).max
_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def grow(labels: NDArray[np.int32], mask: NDArray[np.bool_], *, steps: int) -> NDArray[np.int32]:
    """Synchronous 8-neighbour propagation of labels inside a mask, ties to the smaller number.

    A pixel's result depends on what lies within `steps` pixels of it and on nothing else.

    Parameters
    ----------
    labels : int32 (h, w), seeds 1..N, 0 elsewhere
    mask : bool (h, w)
    steps : R

    Returns
    -------
    int32 (h, w)

    >>> grow(np.array([[1, 0, 0, 0, 2]], np.int32), np.ones((1, 5), bool), steps=2).tolist()
    [[1, 1, 1, 2, 2]]
    """
    field = np.pad(labels, 1)
    free = np.pad(mask, 1) & (field == 0)
    width = field.shape[1]
    # Only pixels beside a free one can hand their number on, so a step costs its front and not the array.
    beside = free[:, :].copy()
    beside[1:] |= free[:-1]
    beside[:-1] |= free[1:]
    across = beside.copy()
    across[:, 1:] |= beside[:, :-1]
    across[:, :-1] |= beside[:, 1:]
    front = np.flatnonzero(across & (field > 0))
    field, free = field.ravel(), free.ravel()
    offered = np.full(field.shape, _BIG, np.int32)
    for _ in range(steps):
        reached = []
        for dy, dx in _NEIGHBOURS:
            target = front + dy * width + dx
            open_ = free[target]
            target, number = target[open_], field[front[open_]]
            before = offered[target]
            reached.append(target[before == _BIG])
            offered[target] = np.minimum(before, number)  # targets of one direction are distinct
        front = np.concatenate(reached)
        if not len(front):
            break
        field[front] = offered[front]
        free[front] = False
    return field.reshape(-1, width)[1:-1, 1:-1]


def contacts(rest: NDArray[np.int32], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """How often pixels of `rest` have pixels of `labels` among their 8 neighbours, each pair of pixels counted once.

    Parameters
    ----------
    rest : int32 (h, w), components 1..n, 0 elsewhere
    labels : int32 (h + 2, w + 2), objects of the same place and one pixel around it

    Returns
    -------
    int64 (pairs, 3) : component, object, count; sorted

    >>> contacts(np.array([[1]], np.int32), np.array([[2, 2, 0], [0, 0, 0], [0, 3, 0]], np.int32)).tolist()
    [[1, 2, 2], [1, 3, 1]]
    """
    y, x = np.nonzero(rest)
    component = rest[y, x]
    found = []
    for dy, dx in _NEIGHBOURS:
        other = labels[y + 1 + dy, x + 1 + dx]
        touching = other > 0
        found.append(np.stack([component[touching], other[touching]], axis=1))
    pairs, count = np.unique(np.concatenate(found), axis=0, return_counts=True)
    return np.column_stack([pairs, count]).astype(np.int64)
