"""Growth of seeds inside a mask, and what touches what.

A field holds both, int32: 0 outside the mask, FREE in the mask and not (yet) labelled, labels from 1.
"""

import numpy as np
from numpy.typing import NDArray

from tiling.objects.runs import Runs

FREE = -1
_NO_OFFER = np.iinfo(np.uint32).max  # FREE, seen as unsigned: any number is smaller
_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def grow(field: NDArray[np.int32], *, steps: int) -> None:
    """Synchronous 8-neighbour propagation of labels into what is free, in place, ties to the smaller number.

    A pixel's result depends on what lies within `steps` pixels of it and on nothing else.

    Parameters
    ----------
    field : int32 (h, w), contiguous, its outermost pixels not free
    steps : R

    >>> field = np.zeros((3, 7), np.int32)
    >>> field[1, 1:6] = [1, FREE, FREE, FREE, 2]
    >>> grow(field, steps=2)
    >>> field[1].tolist()
    [0, 1, 1, 1, 2, 2, 0]
    """
    free = field == FREE
    # Only pixels beside a free one can hand their number on, so a step costs its front and not the array.
    across = free.copy()
    across[1:] |= free[:-1]
    across[:-1] |= free[1:]
    beside = across.copy()
    beside[:, 1:] |= across[:, :-1]
    beside[:, :-1] |= across[:, 1:]
    beside &= field > 0
    front = np.flatnonzero(beside)
    width, free, offered = field.shape[1], free.ravel(), field.reshape(-1).view(np.uint32)
    for _ in range(steps):
        reached = []
        # `take` and `compress`: twice as fast as brackets.
        numbers = offered.take(front)
        for dy, dx in _NEIGHBOURS:
            target = front + (dy * width + dx)
            open_ = np.flatnonzero(free.take(target))
            target = target.take(open_)
            before = offered.take(target)
            reached.append(target.compress(before == _NO_OFFER))
            offered[target] = np.minimum(
                before, numbers.take(open_)
            )  # targets of one direction are distinct
        front = np.concatenate(reached)
        if not len(front):
            break
        free[front] = False


def contacts(rest: Runs, field: NDArray[np.int32]) -> NDArray[np.int64]:
    """How often pixels of `rest` have labelled pixels of a field among their 8 neighbours, each pair of pixels counted once.

    Parameters
    ----------
    rest : runs of a block; values are components 1..n
    field : int32 (h + 2, w + 2), the block and one pixel around it

    Returns
    -------
    int64 (pairs, 3) : component, label, count; sorted

    >>> from tiling.objects.runs import runs
    >>> contacts(runs(np.array([[1]])), np.array([[2, 2, 0], [0, 0, 0], [0, 3, 0]], np.int32)).tolist()
    [[1, 2, 2], [1, 3, 1]]
    """
    y, x = rest.pixels()
    component = np.repeat(rest.value.astype(np.int64), rest.length)
    labels = int(field.max(initial=0)) + 1
    found = []
    for dy, dx in _NEIGHBOURS:
        other = field[y + 1 + dy, x + 1 + dx]
        touching = other > 0
        found.append(component[touching] * labels + other[touching])
    pairs, count = np.unique(np.concatenate(found), return_counts=True)
    return np.column_stack([pairs // labels, pairs % labels, count]).astype(np.int64)
