"""Pixels of the chunks that tiles need, at every level of the pyramid: each is read once and never read back.

A shard of a coarser level is made from the four below it while they are in memory.
"""

import logging
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.parallel import for_each
from tiling.slide_errors import SlideError
from tiling.slides.slide_reader import Slide
from tiling.slides.working_resolution import Plan, read_scaled
from tiling.stores.atomic_store import UnfinishedStore
from tiling.stores.ome_pyramid import WHITE, halved
from tiling.stores.shards import ShardWriter
from tiling.tiles.focus import CELL_PX, cell_sums, no_sums

log = logging.getLogger(__name__)

Chunk = tuple[int, int]  # (row, column) on the chunk grid of level 0
Shard = tuple[int, int]  # (row, column) on the shard grid of its level
Window = tuple[slice, slice]  # (y, x) in pixels of a level
Planes = NDArray[np.uint8]  # (3, h, w)

# A piece of work is a shard of level 1 and the four below it; larger ones would leave cores without any and cost memory.
_MOST_LEVEL = 1


class Written(NamedTuple):
    """What came of the pixels.

    Attributes
    ----------
    failed : chunks that could not be read; they stay white and must not be used
    sums : for `tiling.tiles.focus.tile_focus`
    """

    failed: list[Chunk]
    sums: NDArray[np.float32]


def chunks_under(
    origin_yx_px: NDArray[np.int64],
    tile_px: int,
    shape_px: tuple[int, int],
    chunk_px: tuple[int, int],
) -> NDArray[np.bool_]:
    """Chunks that some tile reaches into.

    Parameters
    ----------
    origin_yx_px : int64 (N, 2), stored pixels
    tile_px : side of a tile
    shape_px, chunk_px : (y, x) sizes of the array and of its chunks

    Returns
    -------
    bool (chunk rows, chunk columns)
    """
    needed = np.zeros(
        [-(-side // chunk) for side, chunk in zip(shape_px, chunk_px, strict=True)], bool
    )
    for y, x in origin_yx_px:
        needed[
            y // chunk_px[0] : -(-(y + tile_px) // chunk_px[0]),
            x // chunk_px[1] : -(-(x + tile_px) // chunk_px[1]),
        ] = True
    return needed


def write_levels(
    slide: Slide,
    plan: Plan,
    levels: list[zarr.Array[Any]],
    partial: UnfinishedStore,
    needed: NDArray[np.bool_],
    *,
    fail_fast: bool,
    workers: int,
    progress: bool,
) -> Written:
    """Read the needed chunks and write all levels, going on where an earlier run stopped; the bytes do not depend on the workers.

    Parameters
    ----------
    slide, plan : what is read and how
    levels : uint8 (3, y, x) arrays under construction, each half the size of the one before
    partial : their journal; the note of a shard of level 0 lists its unreadable chunks
    needed : bool (chunk rows, chunk columns) of level 0
    fail_fast : raise the first SlideError instead of going on without the chunk
    workers, progress : see `for_each`
    """
    work = _Levels(slide, plan, levels, partial, needed, fail_fast)
    before = [shard for shard in work.touched(0) if partial.is_finished(_key(0, shard))]
    for_each(
        work.measure_again, before, workers=workers, what="shards measured again", progress=progress
    )
    first = max(
        (
            level
            for level in range(min(_MOST_LEVEL + 1, len(levels)))
            if len(work.touched(level)) >= 2 * workers
        ),
        default=0,
    )
    for level in range(first, len(levels)):

        def make(shard: Shard, level: int = level) -> None:
            work.make(level, shard, halve=False)

        todo = [
            shard for shard in work.touched(level) if not partial.is_finished(_key(level, shard))
        ]
        for_each(
            make,
            todo,
            workers=workers,
            what="pixels" if level == first else f"pyramid level {level}",
            progress=progress,
        )
    notes = [partial.note(_key(0, shard)) for shard in work.touched(0)]
    return Written([(int(row), int(column)) for note in notes for row, column in note], work.sums)


class _Levels:
    """The levels under construction; different shards of one level may be made at once."""

    def __init__(
        self,
        slide: Slide,
        plan: Plan,
        levels: list[zarr.Array[Any]],
        partial: UnfinishedStore,
        needed: NDArray[np.bool_],
        fail_fast: bool,
    ) -> None:
        self.slide, self.plan, self.partial, self.needed, self.fail_fast = (
            slide,
            plan,
            partial,
            needed,
            fail_fast,
        )
        self.arrays = levels
        self.writers = [ShardWriter(array) for array in levels]
        self.sums = no_sums(*self.writers[0].shape_px)

    def touched(self, level: int) -> list[Shard]:
        """Shards of a level that lie over some needed chunk."""
        writer = self.writers[level]
        counts = [
            -(-side // shard) for side, shard in zip(writer.shape_px, writer.shard_px, strict=True)
        ]
        return [
            shard
            for shard in np.ndindex(counts[0], counts[1])
            if self._is_touched(level, self._window(level, shard))
        ]

    def make(self, level: int, shard: Shard, *, halve: bool = True) -> Planes | None:
        """Write a shard and what is missing below it; returns it halved, None where nothing is needed or `halve` is off."""
        window = self._window(level, shard)
        if not self._is_touched(level, window):
            return None
        key = _key(level, shard)
        half = _white(*(-(-(side.stop - side.start) // 2) for side in window)) if halve else None
        if self.partial.is_finished(
            key
        ):  # by an earlier level of this run, or by a run that was killed
            side_y, side_x = self.writers[level].chunk_px
            height, width = (side.stop - side.start for side in window)
            for (row, column), pixels in self.writers[level].read(shard) if halve else ():
                y, x = row * side_y, column * side_x
                _put_half(half, pixels[:, : height - y, : width - x], y, x)
            return half
        failed = None
        if level:
            self._from_below(level, shard, window, half)
        else:
            failed = self._from_slide(shard, window, half)
        self.partial.record_finished(key, failed)
        return half

    def measure_again(self, shard: Shard) -> None:
        """Focus of a shard of level 0 that an earlier run wrote."""
        failed = self.partial.note(_key(0, shard))
        for _, y, x in self._chunks(0, self._window(0, shard)):
            if self._number(y, x) not in failed:  # nothing was measured there then
                self._measure(np.asarray(self.arrays[0][1, y, x]), y, x)

    def _from_slide(self, shard: Shard, window: Window, half: Planes | None) -> list[list[int]]:
        rows, columns = window
        encoded, failed = {}, []
        for place, y, x in self._chunks(0, window):
            try:
                pixels = np.ascontiguousarray(
                    np.moveaxis(read_scaled(self.slide, self.plan, y, x), -1, 0)
                )
            except SlideError as error:
                if self.fail_fast:
                    raise
                log.warning("%s", error)
                failed.append(self._number(y, x))
                continue
            self._measure(pixels[1], y, x)
            encoded[place] = self.writers[0].encode(pixels)
            _put_half(half, pixels, y.start - rows.start, x.start - columns.start)
        self.writers[0].write(shard, encoded)
        return failed

    def _from_below(self, level: int, shard: Shard, window: Window, half: Planes | None) -> None:
        rows, columns = window
        pixels = _white(rows.stop - rows.start, columns.stop - columns.start)
        below = self.writers[level - 1]
        children = [
            range(2 * side.start // piece, -(-min(2 * side.stop, whole) // piece))
            for side, piece, whole in zip(window, below.shard_px, below.shape_px, strict=True)
        ]
        for row in children[0]:
            for column in children[1]:
                child = self.make(level - 1, (row, column))
                if child is not None:
                    _put(
                        pixels,
                        child,
                        row * below.shard_px[0] // 2 - rows.start,
                        column * below.shard_px[1] // 2 - columns.start,
                    )
        encoded = {}
        for place, y, x in self._chunks(level, window):
            top, left = y.start - rows.start, x.start - columns.start
            chunk = pixels[:, top : y.stop - rows.start, left : x.stop - columns.start]
            encoded[place] = self.writers[level].encode(chunk)
            _put_half(half, chunk, top, left)
        self.writers[level].write(shard, encoded)

    def _measure(self, green: NDArray[np.uint8], y: slice, x: slice) -> None:
        # Green carries most of the contrast of both stains.
        sums = cell_sums(green)
        row, column = y.start // CELL_PX, x.start // CELL_PX
        self.sums[row : row + sums.shape[0], column : column + sums.shape[1]] = sums

    def _number(self, y: slice, x: slice) -> list[int]:
        """Row and column of a chunk of level 0."""
        return [y.start // self.writers[0].chunk_px[0], x.start // self.writers[0].chunk_px[1]]

    def _window(self, level: int, shard: Shard) -> Window:
        y, x = (
            slice(number * side, min((number + 1) * side, whole))
            for number, side, whole in zip(
                shard, self.writers[level].shard_px, self.writers[level].shape_px, strict=True
            )
        )
        return y, x

    def _is_touched(self, level: int, window: Window) -> bool:
        rows, columns = (
            slice((side.start << level) // chunk, -(-(side.stop << level) // chunk))
            for side, chunk in zip(window, self.writers[0].chunk_px, strict=True)
        )
        return bool(self.needed[rows, columns].any())

    def _chunks(self, level: int, window: Window) -> list[tuple[Chunk, slice, slice]]:
        """Touched chunks of a shard: place within it, rows and columns within the level."""
        side_y, side_x = self.writers[level].chunk_px
        found = []
        for row, y in enumerate(range(window[0].start, window[0].stop, side_y)):
            for column, x in enumerate(range(window[1].start, window[1].stop, side_x)):
                extent = (
                    slice(y, min(y + side_y, window[0].stop)),
                    slice(x, min(x + side_x, window[1].stop)),
                )
                if self._is_touched(level, extent):
                    found.append(((row, column), *extent))
        return found


def chunk_sides(image: zarr.Array[Any]) -> tuple[int, int]:
    """(y, x) sides of an array's chunks."""
    return int(image.chunks[-2]), int(image.chunks[-1])


def _white(height: int, width: int) -> Planes:
    return np.full((3, height, width), WHITE, np.uint8)


def _put(target: Planes, part: Planes, y: int, x: int) -> None:
    target[:, y : y + part.shape[1], x : x + part.shape[2]] = part


def _put_half(target: Planes | None, pixels: Planes, y: int, x: int) -> None:
    """Halve pixels that stand at (y, x), even numbers, of an array into the half of that array."""
    if target is not None:
        _put(target, halved(pixels), y // 2, x // 2)


def _key(level: int, shard: Shard) -> str:
    return f"{level}/{shard[0]}/{shard[1]}"
