"""Numbers of the objects in label images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.raster.runs import connect_runs, find_runs

# Structuring element of `scipy.ndimage.label`: pixels that touch at a corner are connected.
EIGHT_CONNECTED = np.ones((3, 3), int)


def renumber(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same objects, numbered 1..N by their first pixel in raster order.

    Parameters
    ----------
    labels : int32 (H, W), 0 background

    >>> renumber(np.array([[0, 9, 4], [2, 9, 0]], np.int32)).tolist()
    [[0, 1, 2], [3, 1, 0]]
    """
    flat = labels.ravel()
    pixels = np.flatnonzero(flat)[::-1]
    first = np.full(int(flat.max(initial=0)) + 1, flat.size)
    first[flat[pixels]] = pixels  # in reverse order, because the last assignment wins
    present = np.flatnonzero(first < flat.size)
    table = np.zeros(len(first), np.int32)
    table[present[np.argsort(first[present])]] = np.arange(1, len(present) + 1)
    numbered: NDArray[np.int32] = table[labels]
    return numbered


def label_components(mask: NDArray[Any]) -> NDArray[np.int32]:
    """8-connected components of a mask, numbered 1..N by their first pixel in raster order.

    Parameters
    ----------
    mask : (H, W), boolean or numbers; what is above 0 is labelled

    >>> label_components(np.array([[5, 0, 5], [0, 5, 0], [0, 0, 0], [5, 5, 0]])).tolist()
    [[1, 0, 1], [0, 1, 0], [0, 0, 0], [2, 2, 0]]
    """
    components, _ = ndimage.label(mask > 0, EIGHT_CONNECTED, output=np.int32)
    labels: NDArray[np.int32] = components
    return labels


def label_parts(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """8-connected parts with one number, numbered 1..N by their first pixel in raster order.

    Parameters
    ----------
    labels : int32 (H, W), 0 background

    >>> label_parts(np.array([[7, 7, 5], [0, 0, 5], [7, 0, 5]], np.int32)).tolist()
    [[1, 1, 2], [0, 0, 2], [3, 0, 2]]
    """
    runs = find_runs(labels)
    is_object = runs.value > 0
    numbers = np.zeros(len(is_object), np.int32)
    _, numbers[is_object] = connect_runs(runs.select(is_object), one_value=True)
    parts: NDArray[np.int32] = runs._replace(value=numbers).to_array(labels.shape)
    return parts
