"""Work in progress of stitching: one compressed file per block, and the blocks' borders in memory.

A block grows with a halo. Its neighbours' files would be decoded nine times over for it; their borders, compressed, are small.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tiling.objects.components import Grid
from tiling.objects.runs import Runs
from tiling.raster.geometry import Block


class _Packed(NamedTuple):
    """A compressed array.

    Attributes
    ----------
    narrow : two bytes a value, not four
    """

    data: bytes
    narrow: bool
    shape: tuple[int, int]


def _pack(values: NDArray[np.int32]) -> _Packed:
    # Two bytes are enough for nearly all blocks, and half the work.
    narrow = bool(values.max(initial=0) <= np.iinfo(np.int16).max)
    raw: Any = np.ascontiguousarray(values, np.int16 if narrow else np.int32)
    return _Packed(
        bytes(imagecodecs.zstd_encode(raw, level=1)), narrow, (values.shape[0], values.shape[1])
    )


def _unpack(packed: _Packed, data: bytes) -> NDArray[np.signedinteger[Any]]:
    values: NDArray[np.signedinteger[Any]] = np.frombuffer(
        imagecodecs.zstd_decode(data), np.int16 if packed.narrow else np.int32
    )
    return values.reshape(packed.shape)


class Scratch:
    """An int32 array, block by block, kept as runs; blocks never written are 0."""

    def __init__(self, folder: Path, grid: Grid) -> None:
        folder.mkdir()
        self._folder, self._grid = folder, grid
        self._kinds: dict[int, _Packed] = {}

    def write(self, index: int, found: Runs) -> None:
        """Write a block: the runs that cover it."""
        packed = _pack(np.stack([found.value, found.length.astype(np.int32)]))
        (self._folder / str(index)).write_bytes(packed.data)
        self._kinds[index] = packed._replace(data=b"")

    def __contains__(self, index: int) -> bool:
        return index in self._kinds

    def block(self, index: int, lookup: NDArray[np.int32]) -> NDArray[np.int32]:
        """A block that was written, values looked up in a list."""
        value, length = _unpack(self._kinds[index], (self._folder / str(index)).read_bytes())
        rows, columns = self._grid.blocks[index]
        return np.repeat(lookup[value], length).reshape(
            rows.stop - rows.start, columns.stop - columns.start
        )

    def looked_up(
        self, window: Block, numbers: Callable[[int], NDArray[np.int32]]
    ) -> NDArray[np.int32] | None:
        """Any window, values looked up in a list for each block (by its index); None when all of it was never written."""
        y, x = window
        side = self._grid.block_px
        found = None
        for row in range(y.start // side, -(-y.stop // side)):
            for column in range(x.start // side, -(-x.stop // side)):
                index = row * self._grid.columns + column
                if index not in self:
                    continue
                values = self.block(index, numbers(index))
                if found is None:
                    found = np.zeros((y.stop - y.start, x.stop - x.start), np.int32)
                top, left = row * side, column * side
                here = (
                    slice(max(top - y.start, 0), top + side - y.start),
                    slice(max(left - x.start, 0), left + side - x.start),
                )
                there = (
                    slice(max(y.start - top, 0), y.stop - top),
                    slice(max(x.start - left, 0), x.stop - left),
                )
                found[here] = values[there]
        return found


class Borders:
    """The outermost pixels of the blocks, `reach_px` wide; no block is narrower, but those at the far edges."""

    def __init__(self, grid: Grid, reach_px: int) -> None:
        if grid.block_px < reach_px:
            raise ValueError(
                f"blocks of {grid.block_px} px are narrower than a border of {reach_px} px"
            )
        self._grid, self._reach = grid, reach_px
        self._strips: dict[tuple[int, int, int], _Packed] = {}

    def keep(self, index: int, values: NDArray[np.int32]) -> None:
        """Keep what neighbours will ask of a block: strips and corners, by the direction in which the neighbour lies."""
        for dy, dx in _DIRECTIONS:
            self._strips[index, dy, dx] = _pack(
                values[_end(dy, self._reach), _end(dx, self._reach)]
            )

    def around(
        self, index: int, lookups: dict[int, NDArray[np.int32]], middle: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """A block with a halo of `reach_px`, 0 beyond the array, values of the halo looked up.

        Parameters
        ----------
        lookups : per block, by index, what its values become; those of all neighbours that were kept
        middle : the block, looked up

        Returns
        -------
        int32 (h + 2 (reach + 1), w + 2 (reach + 1)), the outermost pixels 0
        """
        reach, (h, w) = self._reach, middle.shape
        edge = reach + 1
        whole = np.zeros((h + 2 * edge, w + 2 * edge), np.int32)
        whole[edge : edge + h, edge : edge + w] = middle
        for dy, dx in _DIRECTIONS:
            neighbour = self.neighbour(index, dy, dx)
            packed = None if neighbour is None else self._strips.get((neighbour, -dy, -dx))
            if packed is None or neighbour is None:
                continue
            values = lookups[neighbour][_unpack(packed, packed.data)]
            y, x = (
                1 if d < 0 else edge if d == 0 else edge + size for d, size in ((dy, h), (dx, w))
            )
            whole[y : y + values.shape[0], x : x + values.shape[1]] = values
        return whole

    def neighbour(self, index: int, dy: int, dx: int) -> int | None:
        """Index of the block that lies in a direction, if there is one."""
        row, column = divmod(index, self._grid.columns)
        row, column = row + dy, column + dx
        inside = (
            0 <= column < self._grid.columns and 0 <= row < len(self._grid) // self._grid.columns
        )
        return row * self._grid.columns + column if inside else None

    def near(self, index: int) -> list[int]:
        """The block and its neighbours that were kept."""
        every = (self.neighbour(index, dy, dx) for dy, dx in ((0, 0), *_DIRECTIONS))
        return [other for other in every if other is not None and (other, 0, 1) in self._strips]


_DIRECTIONS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def _end(direction: int, reach: int) -> slice:
    """The part of an axis that a neighbour in this direction sees."""
    return (
        slice(None) if direction == 0 else slice(0, reach) if direction < 0 else slice(-reach, None)
    )
