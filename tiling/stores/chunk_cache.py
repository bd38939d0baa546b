"""Windows of a sharded array, for readers that come back to the same chunks: neighbouring tiles share most of theirs."""

from functools import lru_cache
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CachedChunks:
    """A Zarr array read by windows of its last two axes; the chunks used last stay decoded. Safe for several threads.

    Parameters
    ----------
    array : its chunks hold all of the leading axes
    most_bytes : of decoded chunks that are kept; one is, whatever its size

    Attributes
    ----------
    shape, dtype : of the array
    """

    def __init__(self, array: Any, *, most_bytes: int) -> None:  # noqa: ANN401  # zarr.Array, whose type parameter says nothing here
        if array.chunks[:-2] != array.shape[:-2]:
            raise ValueError(
                f"{array.store_path}: chunks {array.chunks} do not hold all of the leading axes of {array.shape}"
            )
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        self._array = array
        self._side = (int(array.chunks[-2]), int(array.chunks[-1]))
        self._chunk = lru_cache(
            max(1, most_bytes // (int(np.prod(array.chunks)) * self.dtype.itemsize))
        )(self._decoded)

    def __getitem__(self, window: tuple[EllipsisType, slice, slice]) -> NDArray[Any]:
        """Pixels [..., top:bottom, left:right] with bounds inside the array, a copy."""
        _, rows, columns = window
        out = np.empty(
            (*self.shape[:-2], rows.stop - rows.start, columns.stop - columns.start), self.dtype
        )
        height, width = self._side
        for row in range(rows.start // height, -(-rows.stop // height)):
            for column in range(columns.start // width, -(-columns.stop // width)):
                y, x = row * height, column * width
                top, left = max(rows.start, y), max(columns.start, x)
                bottom, right = min(rows.stop, y + height), min(columns.stop, x + width)
                part = self._chunk(row, column)[..., top - y : bottom - y, left - x : right - x]
                out[
                    ...,
                    top - rows.start : bottom - rows.start,
                    left - columns.start : right - columns.start,
                ] = part
        return out

    def _decoded(self, row: int, column: int) -> NDArray[Any]:
        y, x = row * self._side[0], column * self._side[1]
        return np.asarray(self._array[..., y : y + self._side[0], x : x + self._side[1]])
