"""Windows of arrays that may reach beyond the array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_window(
    array: Any,  # noqa: ANN401  # a Zarr or NumPy array
    window: Sequence[int] | NDArray[np.int64],
    *,
    fill: int,
) -> NDArray[Any]:
    """A window of the last two axes, with `fill` where it reaches beyond the array.

    Parameters
    ----------
    array : (..., y, x)
    window : y, x, height, width
    fill : value outside the array

    Returns
    -------
    (..., height, width), dtype of the array

    >>> read_window(np.ones((2, 2), np.uint8), (1, -1, 2, 2), fill=7).tolist()
    [[7, 1], [7, 7]]
    """
    y, x, height, width = (int(value) for value in window)
    rows, columns = array.shape[-2:]
    top, left = min(max(y, 0), rows), min(max(x, 0), columns)
    bottom, right = max(min(y + height, rows), top), max(min(x + width, columns), left)
    if (top, left, bottom, right) == (y, x, y + height, x + width):
        return np.asarray(array[..., top:bottom, left:right])
    out = np.full((*array.shape[:-2], height, width), fill, array.dtype)
    if bottom > top and right > left:
        out[..., top - y : bottom - y, left - x : right - x] = array[..., top:bottom, left:right]
    return out
