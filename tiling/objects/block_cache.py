"""Intermediate labels of stitching: one compressed file per block, and the borders in memory.

Growth in a block needs a halo of pixels of its neighbours. To read them from the files, each file
would be decoded nine times. The compressed borders of all blocks fit in memory.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tiling.objects.components import BlockGrid
from tiling.raster.geometry import Block
from tiling.raster.runs import Runs

Number = TypeVar("Number", np.uint16, np.int32)
_DIRECTIONS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


class BlockFiles:
    """An int32 array in a folder, one file of runs per block; blocks never written are 0."""

    def __init__(self, folder: Path, grid: BlockGrid) -> None:
        folder.mkdir()
        self._folder, self._grid = folder, grid
        self._headers: dict[int, _CompressedArray] = {}

    def write(self, index: int, runs: Runs) -> None:
        """Write a block: the runs that cover it."""
        compressed = _compress(np.stack([runs.value, runs.length.astype(np.int32)]))
        (self._folder / str(index)).write_bytes(compressed.data)
        self._headers[index] = compressed._replace(data=b"")

    def __contains__(self, index: int) -> bool:
        return index in self._headers

    def read_block(self, index: int, lookup: NDArray[np.int32]) -> NDArray[np.int32]:
        """A block that was written, int32 (h, w), each value v replaced by lookup[v]."""
        data = (self._folder / str(index)).read_bytes()
        value, length = _decompress(self._headers[index]._replace(data=data))
        rows, columns = self._grid.blocks[index]
        shape = rows.stop - rows.start, columns.stop - columns.start
        return np.repeat(lookup[value], length).reshape(shape)

    def read(
        self, window: Block, lookup_of: Callable[[int], NDArray[np.int32]]
    ) -> NDArray[np.int32] | None:
        """Read any part of the array, with values replaced as in `read_block`.

        Parameters
        ----------
        lookup_of : gives the lookup of each block, by its index

        Returns
        -------
        ndarray or None
            int32 (h, w); None if no block of it was written.
        """
        y, x = window
        side = self._grid.block_px
        pixels = None
        for row in range(y.start // side, -(-y.stop // side)):
            for column in range(x.start // side, -(-x.stop // side)):
                index = row * self._grid.columns + column
                if index not in self:
                    continue
                if pixels is None:
                    pixels = np.zeros((y.stop - y.start, x.stop - x.start), np.int32)
                to_rows, from_rows = _overlap(y, row * side, side)
                to_columns, from_columns = _overlap(x, column * side, side)
                values = self.read_block(index, lookup_of(index))
                pixels[to_rows, to_columns] = values[from_rows, from_columns]
        return pixels


class ArrayFiles:
    """Arrays of small integers in a folder, one compressed file per block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._headers: dict[int, _CompressedArray] = {}

    def write(self, index: int, values: NDArray[np.integer[Any]]) -> None:
        """Write the array of a block."""
        compressed = _compress(values)
        (self._folder / str(index)).write_bytes(compressed.data)
        self._headers[index] = compressed._replace(data=b"")

    def __contains__(self, index: int) -> bool:
        return index in self._headers

    def read(self, index: int) -> NDArray[np.signedinteger[Any]]:
        """The array of a block that was written, int16 if all values fit, otherwise int32."""
        data = (self._folder / str(index)).read_bytes()
        return _decompress(self._headers[index]._replace(data=data))


class BlockBorders:
    """The outermost pixels of all blocks, `width_px` wide.

    No block may be narrower, except those at the far edges of the array.
    """

    def __init__(self, grid: BlockGrid, width_px: int) -> None:
        if grid.block_px < width_px:
            raise ValueError(
                f"blocks of {grid.block_px} px are narrower than a border of {width_px} px"
            )
        self._grid, self._width_px = grid, width_px
        self._strips: dict[tuple[int, int, int], _CompressedArray] = {}

    def store(self, index: int, values: NDArray[np.integer[Any]]) -> None:
        """Store the sides and corners of a block, by the direction of the neighbouring block."""
        for dy, dx in _DIRECTIONS:
            strip = values[_strip(dy, self._width_px), _strip(dx, self._width_px)]
            self._strips[index, dy, dx] = _compress(strip)

    def with_halo(
        self, index: int, block: NDArray[Number], lookups: dict[int, NDArray[Number]]
    ) -> NDArray[Number]:
        """A block with a halo of `width_px`; 0 beyond the array.

        Parameters
        ----------
        block : pixels of the block
        lookups : for each stored neighbour, by its index: value v of the halo becomes lookup[v]

        Returns
        -------
        ndarray
            (h + 2 (width_px + 1), w + 2 (width_px + 1)), its outermost pixels 0.
        """
        height, width = block.shape
        margin = self._width_px + 1
        field = np.pad(block, margin)
        for dy, dx in _DIRECTIONS:
            neighbour = self._neighbour(index, dy, dx)
            strip = None if neighbour is None else self._strips.get((neighbour, -dy, -dx))
            if strip is None or neighbour is None:
                continue
            values = lookups[neighbour][_decompress(strip)]
            y, x = _halo_start(dy, height, margin), _halo_start(dx, width, margin)
            field[y : y + values.shape[0], x : x + values.shape[1]] = values
        return field

    def store_runs(self, index: int, runs: Runs) -> None:
        """Store the sides and corners of a block of runs, one pixel wide."""
        last = int(runs.y[-1])
        ends = runs.x + runs.length
        is_row = {-1: runs.y == 0, 1: runs.y == last}
        is_column = {-1: runs.x == 0, 1: ends == ends[-1]}
        for dy, dx in _DIRECTIONS:
            if dx == 0:
                row = is_row[dy]
                strip = np.repeat(runs.value[row], runs.length[row])[None]
            elif dy == 0:
                strip = runs.value[is_column[dx]][:, None]
            else:
                strip = runs.value[is_row[dy] & is_column[dx]][None]
            self._strips[index, dy, dx] = _compress(strip)

    def strip(self, index: int, dy: int, dx: int) -> NDArray[np.signedinteger[Any]] | None:
        """Pixels of a block that its neighbour in a direction needs; None if it was not stored."""
        strip = self._strips.get((index, dy, dx))
        return None if strip is None else _decompress(strip)

    def stored_around(self, index: int) -> list[int]:
        """Indices of the block and its neighbours, without those that were not stored."""
        around = (self._neighbour(index, dy, dx) for dy, dx in ((0, 0), *_DIRECTIONS))
        return [other for other in around if other is not None and (other, 0, 1) in self._strips]

    def _neighbour(self, index: int, dy: int, dx: int) -> int | None:
        """Index of the neighbour in a direction; None at the edge of the array."""
        columns = self._grid.columns
        row, column = index // columns + dy, index % columns + dx
        exists = 0 <= column < columns and 0 <= row < len(self._grid) // columns
        return row * columns + column if exists else None


class _CompressedArray(NamedTuple):
    """A compressed array.

    Attributes
    ----------
    data : zstd
    is_int16 : two bytes a value instead of four
    """

    data: bytes
    is_int16: bool
    shape: tuple[int, int]


def _compress(values: NDArray[np.integer[Any]]) -> _CompressedArray:
    # Two bytes are enough for nearly all blocks, and take half the time.
    is_int16 = bool(values.max(initial=0) <= np.iinfo(np.int16).max)
    raw: Any = np.ascontiguousarray(values, np.int16 if is_int16 else np.int32)
    data = bytes(imagecodecs.zstd_encode(raw, level=1))
    return _CompressedArray(data, is_int16, (values.shape[0], values.shape[1]))


def _decompress(array: _CompressedArray) -> NDArray[np.signedinteger[Any]]:
    dtype = np.int16 if array.is_int16 else np.int32
    values: NDArray[np.signedinteger[Any]] = np.frombuffer(
        imagecodecs.zstd_decode(array.data), dtype
    )
    return values.reshape(array.shape)


def _overlap(window: slice, start: int, side: int) -> tuple[slice, slice]:
    """Overlap of a window and a block that begins at `start`, on one axis: in each of the two."""
    in_window = slice(max(start - window.start, 0), start + side - window.start)
    in_block = slice(max(window.start - start, 0), window.stop - start)
    return in_window, in_block


def _strip(direction: int, width_px: int) -> slice:
    """Pixels of an axis that a neighbour in this direction needs."""
    if direction == 0:
        return slice(None)
    return slice(0, width_px) if direction < 0 else slice(-width_px, None)


def _halo_start(direction: int, side: int, margin: int) -> int:
    """First pixel of the halo on an axis, in a direction; the outermost pixel stays 0."""
    if direction < 0:
        return 1
    return margin if direction == 0 else margin + side
