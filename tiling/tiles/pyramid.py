"""Pixels of the chunks that tiles need, at every level of the pyramid.

Each pixel is read once from the slide and not read back from the store: a shard of a coarser level
is made from the four shards below it while they are in memory.
"""

import logging
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.parallel import JobSettings, for_each
from tiling.raster.geometry import Block
from tiling.slide_errors import SlideError
from tiling.slides.scaled_reading import read_scaled
from tiling.slides.slide_reader import Slide
from tiling.slides.working_resolution import ScalePlan
from tiling.stores.atomic_store import UnfinishedStore
from tiling.stores.ome_pyramid import WHITE, halved
from tiling.stores.shards import ShardWriter
from tiling.tiles.focus import CELL_PX, cell_sums, no_sums

log = logging.getLogger(__name__)

Chunk = tuple[int, int]  # (row, column) on the chunk grid of level 0
Shard = tuple[int, int]  # (row, column) on the shard grid of its level
Pixels = NDArray[np.uint8]  # (3, h, w)

# Each thread works on a shard of level 1 with the four shards below it. Shards of level 2 would be
# fewer than the threads, and each would need more memory.
_HIGHEST_FIRST_LEVEL = 1


class PyramidResult(NamedTuple):
    """Failed chunks and sums of the pixels that `write_levels` read.

    Attributes
    ----------
    failed : chunks that could not be read; they are white and must not be used
    sums : see `tiling.tiles.focus.tile_focus`
    """

    failed: list[Chunk]
    sums: NDArray[np.float32]


def write_levels(
    slide: Slide,
    plan: ScalePlan,
    levels: list[zarr.Array[Any]],
    unfinished: UnfinishedStore,
    needed: NDArray[np.bool_],
    *,
    fail_fast: bool,
    job: JobSettings,
) -> PyramidResult:
    """Read the needed chunks and write all levels, without the shards that an earlier run finished.

    The bytes do not depend on the number of workers.

    Parameters
    ----------
    slide, plan : the slide, and how stored pixels are made from its pixels
    levels : uint8 (3, y, x) arrays to write, each half the size of the one before
    unfinished : journal; the note of a shard of level 0 lists its unreadable chunks
    needed : bool (chunk rows, chunk columns) of level 0
    fail_fast : raise the first SlideError; otherwise the chunk is left out and listed as failed
    job : threads and progress
    """
    work = _PyramidWriter(slide, plan, levels, unfinished, needed, fail_fast)
    finished = [shard for shard in work.touched(0) if unfinished.is_finished(_key(0, shard))]
    for_each(
        work.measure_again,
        finished,
        job=job,
        nouns="shards measured again",
    )
    first = _first_level(work, job.workers)
    for level in range(first, len(levels)):

        def make(shard: Shard, level: int = level) -> None:
            work.make(level, shard, halve=False)

        missing = [
            shard for shard in work.touched(level) if not unfinished.is_finished(_key(level, shard))
        ]
        for_each(
            make,
            missing,
            job=job,
            nouns="pixels" if level == first else f"pyramid level {level}",
        )
    failed: list[Chunk] = []
    for shard in work.touched(0):
        failed.extend((int(row), int(column)) for row, column in unfinished.note(_key(0, shard)))
    return PyramidResult(failed, work.sums)


def chunk_sides(image: zarr.Array[Any]) -> tuple[int, int]:
    """(y, x) sides of an array's chunks."""
    return int(image.chunks[-2]), int(image.chunks[-1])


class _PyramidWriter:
    """Writes the shards of all levels; several threads may write different shards of one level."""

    def __init__(
        self,
        slide: Slide,
        plan: ScalePlan,
        levels: list[zarr.Array[Any]],
        unfinished: UnfinishedStore,
        needed: NDArray[np.bool_],
        fail_fast: bool,
    ) -> None:
        self.slide, self.plan, self.arrays = slide, plan, levels
        self.unfinished, self.needed, self.fail_fast = unfinished, needed, fail_fast
        self.writers = [ShardWriter(array) for array in levels]
        self.sums = no_sums(*self.writers[0].shape_px)

    def touched(self, level: int) -> list[Shard]:
        """Shards of a level that overlap a needed chunk."""
        writer = self.writers[level]
        rows, columns = (
            -(-side // shard) for side, shard in zip(writer.shape_px, writer.shard_px, strict=True)
        )
        shards = np.ndindex(rows, columns)
        return [shard for shard in shards if self._is_touched(level, self._block(level, shard))]

    def make(self, level: int, shard: Shard, *, halve: bool = True) -> Pixels | None:
        """Write a shard and the missing shards below it.

        Returns
        -------
        The shard at half size; None where no chunk is needed, or without `halve`
        """
        block = self._block(level, shard)
        if not self._is_touched(level, block):
            return None
        height, width = (side.stop - side.start for side in block)
        half = _white(-(-height // 2), -(-width // 2)) if halve else None
        key = _key(level, shard)
        if self.unfinished.is_finished(key):
            if halve:  # written for an earlier level of this run, or by a run that was killed
                self._read_back(level, shard, half)
            return half
        failed = None
        if level:
            self._write_from_below(level, shard, block, half)
        else:
            failed = self._write_from_slide(shard, block, half)
        self.unfinished.record_finished(key, failed, [self.writers[level].path(shard)])
        return half

    def measure_again(self, shard: Shard) -> None:
        """Sums for the focus of a shard of level 0 that an earlier run wrote."""
        failed = self.unfinished.note(_key(0, shard))
        for _, y, x in self._chunks(0, self._block(0, shard)):
            if self._number(y, x) not in failed:  # the earlier run measured no failed chunk
                self._measure(np.asarray(self.arrays[0][1, y, x]), y, x)

    def _read_back(self, level: int, shard: Shard, half: Pixels | None) -> None:
        """Put the stored pixels of a finished shard into `half`."""
        writer, (rows, columns) = self.writers[level], self._block(level, shard)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        for (row, column), pixels in writer.read_chunks(shard):
            y, x = row * writer.chunk_px[0], column * writer.chunk_px[1]
            _put_half(half, pixels[:, : height - y, : width - x], y, x)

    def _write_from_slide(self, shard: Shard, block: Block, half: Pixels | None) -> list[list[int]]:
        """Write a shard of level 0; returns row and column of the chunks that cannot be read."""
        rows, columns = block
        encoded, failed = {}, []
        for place, y, x in self._chunks(0, block):
            try:
                image = read_scaled(self.slide, self.plan, y, x)
            except SlideError as error:
                if self.fail_fast:
                    raise
                log.warning("%s", error)
                failed.append(self._number(y, x))
                continue
            pixels = np.ascontiguousarray(np.moveaxis(image, -1, 0))
            self._measure(pixels[1], y, x)
            encoded[place] = self.writers[0].encode(pixels)
            _put_half(half, pixels, y.start - rows.start, x.start - columns.start)
        self.writers[0].write(shard, encoded)
        return failed

    def _write_from_below(
        self, level: int, shard: Shard, block: Block, half: Pixels | None
    ) -> None:
        """Write a shard of a coarser level from the shards below it."""
        rows, columns = block
        pixels = _white(rows.stop - rows.start, columns.stop - columns.start)
        below = self.writers[level - 1]
        child_rows, child_columns = (
            range(2 * side.start // shard_px, -(-min(2 * side.stop, length) // shard_px))
            for side, shard_px, length in zip(block, below.shard_px, below.shape_px, strict=True)
        )
        for row, column in ((row, column) for row in child_rows for column in child_columns):
            child = self.make(level - 1, (row, column))
            if child is not None:
                top = row * below.shard_px[0] // 2 - rows.start
                left = column * below.shard_px[1] // 2 - columns.start
                _put(pixels, child, top, left)
        encoded = {}
        for place, y, x in self._chunks(level, block):
            top, left = y.start - rows.start, x.start - columns.start
            chunk = pixels[:, top : y.stop - rows.start, left : x.stop - columns.start]
            encoded[place] = self.writers[level].encode(chunk)
            _put_half(half, chunk, top, left)
        self.writers[level].write(shard, encoded)

    def _measure(self, green: NDArray[np.uint8], y: slice, x: slice) -> None:
        # Most of the contrast of both stains is in the green channel.
        sums = cell_sums(green)
        row, column = y.start // CELL_PX, x.start // CELL_PX
        self.sums[row : row + sums.shape[0], column : column + sums.shape[1]] = sums

    def _number(self, y: slice, x: slice) -> list[int]:
        """Row and column of a chunk of level 0."""
        height, width = self.writers[0].chunk_px
        return [y.start // height, x.start // width]

    def _block(self, level: int, shard: Shard) -> Block:
        """Rows and columns of a shard within its level."""
        writer = self.writers[level]
        y, x = (
            slice(number * side, min((number + 1) * side, length))
            for number, side, length in zip(shard, writer.shard_px, writer.shape_px, strict=True)
        )
        return y, x

    def _is_touched(self, level: int, block: Block) -> bool:
        rows, columns = (
            slice((side.start << level) // chunk, -(-(side.stop << level) // chunk))
            for side, chunk in zip(block, self.writers[0].chunk_px, strict=True)
        )
        return bool(self.needed[rows, columns].any())

    def _chunks(self, level: int, block: Block) -> list[tuple[Chunk, slice, slice]]:
        """Touched chunks of a shard: place in the shard, rows and columns within the level."""
        height, width = self.writers[level].chunk_px
        chunks = []
        for row, y in enumerate(range(block[0].start, block[0].stop, height)):
            for column, x in enumerate(range(block[1].start, block[1].stop, width)):
                rows = slice(y, min(y + height, block[0].stop))
                columns = slice(x, min(x + width, block[1].stop))
                if self._is_touched(level, (rows, columns)):
                    chunks.append(((row, column), rows, columns))
        return chunks


def _first_level(work: _PyramidWriter, workers: int) -> int:
    """The highest level with at least two shards per thread, but not above level 1."""
    first = 0
    for level in range(min(_HIGHEST_FIRST_LEVEL + 1, len(work.arrays))):
        if len(work.touched(level)) >= 2 * workers:
            first = level
    return first


def _white(height: int, width: int) -> Pixels:
    return np.full((3, height, width), WHITE, np.uint8)


def _put(target: Pixels, part: Pixels, y: int, x: int) -> None:
    target[:, y : y + part.shape[1], x : x + part.shape[2]] = part


def _put_half(half: Pixels | None, pixels: Pixels, y: int, x: int) -> None:
    """Halve pixels that are at (y, x), even numbers, of a shard and put them into its half."""
    if half is not None:
        _put(half, halved(pixels), y // 2, x // 2)


def _key(level: int, shard: Shard) -> str:
    return f"{level}/{shard[0]}/{shard[1]}"
