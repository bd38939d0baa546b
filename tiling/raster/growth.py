"""Growth of labels inside a mask, and the assignment of what growth did not reach.

A growth field holds labels and mask in one int32 array: 0 outside the mask, FREE for pixels of the
mask that have no label, labels from 1.
"""

import numpy as np
from numpy.typing import NDArray

FREE = -1
_NO_LABEL = np.iinfo(np.uint32).max  # FREE as an unsigned number: every label is smaller
_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def grow(field: NDArray[np.int32], *, steps: int) -> None:
    """Extend labels into free pixels in place, by synchronous steps to all 8 neighbours.

    In each step a free pixel with labelled neighbours takes the smallest of their labels. The
    result at a pixel depends only on pixels at most `steps` rows and columns away.

    Parameters
    ----------
    field : int32 (h, w), contiguous; its outermost pixels must not be free
    steps : number of steps R

    >>> field = np.zeros((3, 7), np.int32)
    >>> field[1, 1:6] = [1, FREE, FREE, FREE, 2]
    >>> grow(field, steps=2)
    >>> field[1].tolist()
    [0, 1, 1, 1, 2, 2, 0]
    """
    free = field == FREE
    # A step visits only labelled pixels beside free ones, not the whole array.
    front = np.flatnonzero((field > 0) & _dilated(free))
    width, free, labels = field.shape[1], free.ravel(), field.reshape(-1).view(np.uint32)
    for _ in range(steps):
        reached = []
        # `take` and `compress` are twice as fast as indexing with brackets.
        front_labels = labels.take(front)
        for dy, dx in _NEIGHBOURS:
            target = front + (dy * width + dx)
            is_free = np.flatnonzero(free.take(target))
            target = target.take(is_free)  # no pixel occurs twice within one direction
            before = labels.take(target)
            reached.append(target.compress(before == _NO_LABEL))
            labels[target] = np.minimum(before, front_labels.take(is_free))
        front = np.concatenate(reached)
        if not len(front):
            break
        free[front] = False


def count_contacts(
    components: NDArray[np.int64],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    field: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Count the 8-neighbour pixel pairs between components and the labels around them.

    Parameters
    ----------
    components : int64 (n,), component 1.. of each pixel
    y, x : int64 (n,), the pixels
    field : int32 (h + 2, w + 2), labels of the same array with one more pixel on each side;
        pixel (y, x) is field[y + 1, x + 1]

    Returns
    -------
    ndarray
        int64 (pairs, 3): component, label, number of pixel pairs; sorted.

    >>> one, zero = np.array([1]), np.array([0])
    >>> around = np.array([[2, 2, 0], [0, 0, 0], [0, 3, 0]], np.int32)
    >>> count_contacts(one, zero, zero, around).tolist()
    [[1, 2, 2], [1, 3, 1]]
    """
    base = int(field.max(initial=0)) + 1
    keys = []
    for dy, dx in _NEIGHBOURS:
        neighbour = field[y + 1 + dy, x + 1 + dx]
        touching = neighbour > 0
        keys.append(components[touching] * base + neighbour[touching])
    pairs, count = np.unique(np.concatenate(keys), return_counts=True)
    return np.column_stack([pairs // base, pairs % base, count]).astype(np.int64)


def assign_components(
    contacts: NDArray[np.int64], component_count: int, label_count: int
) -> NDArray[np.int32]:
    """The label that each component takes: the one with most contacts, otherwise a new one.

    Of several labels with equally many contacts a component takes the smallest. Components without
    contact get the new labels label_count + 1, label_count + 2, ... in their order.

    Parameters
    ----------
    contacts : int64 (pairs, 3): component 1..component_count, label, number of pixel pairs; a pair
        of component and label may occur several times, its numbers are then added
    label_count : largest label that exists

    Returns
    -------
    ndarray
        int32 (component_count + 1,); entry 0 is 0.

    >>> assign_components(np.array([[1, 2, 3], [1, 4, 3], [3, 9, 1]]), 3, 9).tolist()
    [0, 2, 10, 9]
    """
    assigned = np.zeros(component_count + 1, np.int32)
    pairs, row_of = np.unique(contacts[:, :2], axis=0, return_inverse=True)
    count = np.bincount(row_of.ravel(), weights=contacts[:, 2]).astype(np.int64)
    # The last row of each component has the most contacts, and of those the smallest label.
    order = np.lexsort((-pairs[:, 1], count, pairs[:, 0]))
    assigned[pairs[order, 0]] = pairs[order, 1]
    alone = np.flatnonzero(assigned[1:] == 0) + 1
    assigned[alone] = label_count + 1 + np.arange(len(alone))
    return assigned


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its 8 neighbours."""
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    dilated = rows.copy()
    dilated[:, 1:] |= rows[:, :-1]
    dilated[:, :-1] |= rows[:, 1:]
    return dilated
