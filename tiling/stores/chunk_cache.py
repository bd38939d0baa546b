"""A cache of decoded chunks, for readers of windows that share chunks, as neighbouring tiles do."""

from functools import lru_cache
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CachedChunks:
    """A Zarr array that is read by windows of its last two axes; recently used chunks stay decoded.

    Several threads may use it.

    Parameters
    ----------
    array : Zarr array whose chunks contain all of its leading axes
    max_bytes : size of the decoded chunks that are kept; at least one chunk is

    Attributes
    ----------
    shape, dtype : of the array

    Raises
    ------
    ValueError
        The chunks divide a leading axis.
    """

    def __init__(self, array: Any, *, max_bytes: int) -> None:  # noqa: ANN401  # a Zarr array
        if array.chunks[:-2] != array.shape[:-2]:
            raise ValueError(
                f"{array.store_path}: chunks {array.chunks} do not hold all of the leading axes "
                f"of {array.shape}"
            )
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        self._array = array
        self._chunk_px = (int(array.chunks[-2]), int(array.chunks[-1]))
        chunk_bytes = int(np.prod(array.chunks)) * self.dtype.itemsize
        self._chunk = lru_cache(max(1, max_bytes // chunk_bytes))(self._decode_chunk)

    def __getitem__(self, block: tuple[EllipsisType, slice, slice]) -> NDArray[Any]:
        """Pixels [..., top:bottom, left:right] with bounds inside the array, as a copy."""
        _, rows, columns = block
        size = (rows.stop - rows.start, columns.stop - columns.start)
        out = np.empty((*self.shape[:-2], *size), self.dtype)
        height, width = self._chunk_px
        for row in range(rows.start // height, -(-rows.stop // height)):
            for column in range(columns.start // width, -(-columns.stop // width)):
                y, x = row * height, column * width
                top, left = max(rows.start, y), max(columns.start, x)
                bottom, right = min(rows.stop, y + height), min(columns.stop, x + width)
                target = (
                    ...,
                    slice(top - rows.start, bottom - rows.start),
                    slice(left - columns.start, right - columns.start),
                )
                chunk = self._chunk(row, column)
                out[target] = chunk[..., top - y : bottom - y, left - x : right - x]
        return out

    def _decode_chunk(self, row: int, column: int) -> NDArray[Any]:
        height, width = self._chunk_px
        y, x = row * height, column * width
        return np.asarray(self._array[..., y : y + height, x : x + width])
