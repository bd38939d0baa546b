"""Bands of rows: large images are processed in them to save memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BAND_PX = 256


def row_bands(height: int) -> list[slice]:
    """Bands that cover the rows of an image.

    >>> row_bands(300)
    [slice(0, 256, None), slice(256, 300, None)]
    """
    return [slice(top, min(top + _BAND_PX, height)) for top in range(0, height, _BAND_PX)]


def histogram(
    values: NDArray[Any], where: NDArray[np.bool_], length: int = 256
) -> NDArray[np.int64]:
    """How often each value occurs where a mask is true.

    It counts band by band, because numpy converts the values that it counts to eight bytes each.

    >>> histogram(np.array([[0, 1, 1]]), np.array([[True, True, False]]), 3)
    array([1, 1, 0])
    """
    counts = np.zeros(length, np.int64)
    for rows in row_bands(len(values)):
        counts += np.bincount(values[rows][where[rows]], minlength=length)
    return counts
