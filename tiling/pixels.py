"""Pixels of the chunks that tiles need, shard by shard, and what is measured on the finished tiles."""

import logging
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.geometry import blocks
from tiling.parallel import for_each
from tiling.slide.reader import Slide
from tiling.slide.resolution import Plan, read_scaled
from tiling.store.arrays import SHARD_PX
from tiling.store.atomic import Partial
from tiling.store.ome import WHITE
from tiling.tissue import focus_score

log = logging.getLogger(__name__)

Chunk = tuple[int, int]  # (row, column) on the chunk grid


def chunks_under(origin_yx_px: NDArray[np.int64], tile_px: int, shape_px: tuple[int, int], chunk_px: tuple[int, int]) -> NDArray[np.bool_]:
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
    needed = np.zeros([-(-side // chunk) for side, chunk in zip(shape_px, chunk_px, strict=True)], bool)
    for y, x in origin_yx_px:
        needed[y // chunk_px[0] : -(-(y + tile_px) // chunk_px[0]), x // chunk_px[1] : -(-(x + tile_px) // chunk_px[1])] = True
    return needed


def write_pixels(
    slide: Slide,
    plan: Plan,
    image: zarr.Array[Any],
    partial: Partial,
    needed: NDArray[np.bool_],
    *,
    fail_fast: bool,
    workers: int,
    progress: bool,
) -> list[Chunk]:
    """Read the needed chunks and write them, one shard at a time, going on where an earlier run stopped.

    Parameters
    ----------
    slide, plan : what is read and how
    image : uint8 (3, y, x) array under construction
    partial : its journal; the note of a shard lists its unreadable chunks
    needed : bool (chunk rows, chunk columns)
    fail_fast : raise the first SlideError instead of going on without the chunk
    workers, progress : see `for_each`

    Returns
    -------
    Chunks that could not be read; they stay white and must not be used.
    """
    height, width = image.shape[-2:]
    chunk_px = chunk_sides(image)

    def write(block: tuple[slice, slice]) -> None:
        rows, columns = block
        pixels = np.full((3, rows.stop - rows.start, columns.stop - columns.start), WHITE, np.uint8)
        failed = []
        for chunk in _chunks_of(block, needed, chunk_px):
            y, x = _extent(chunk, chunk_px, (height, width))
            try:
                rgb = read_scaled(slide, plan, y, x)
            except SlideError as error:
                if fail_fast:
                    raise
                log.warning("%s", error)
                failed.append(list(chunk))
                continue
            pixels[:, y.start - rows.start : y.stop - rows.start, x.start - columns.start : x.stop - columns.start] = np.moveaxis(
                rgb, -1, 0
            )
        image[:, rows, columns] = pixels
        partial.done(_key(block), failed)

    shards = [block for block in blocks(height, width, SHARD_PX) if _chunks_of(block, needed, chunk_px)]
    for_each(write, [shard for shard in shards if not partial.is_done(_key(shard))], workers=workers, what="shards", progress=progress)
    return [(int(row), int(column)) for shard in shards for row, column in partial.note(_key(shard))]


def measure_focus(
    image: zarr.Array[Any], origin_yx_px: NDArray[np.int64], tile_px: int, *, workers: int, progress: bool
) -> NDArray[np.float32]:
    """Focus score of every tile (its part inside the slide), float32 (N,); reads each shard once."""
    height, width = image.shape[-2:]
    shards: dict[tuple[int, int], list[int]] = {}
    for index, (y, x) in enumerate(origin_yx_px // SHARD_PX):
        shards.setdefault((int(y), int(x)), []).append(index)
    focus = np.zeros(len(origin_yx_px), np.float32)

    def measure(shard: tuple[int, int]) -> None:
        top, left = shard[0] * SHARD_PX, shard[1] * SHARD_PX
        reach = SHARD_PX + tile_px
        # Green carries most of the contrast of both stains.
        green = np.asarray(image[1, top : min(top + reach, height), left : min(left + reach, width)])
        for index in shards[shard]:
            y, x = origin_yx_px[index] - (top, left)
            focus[index] = focus_score(green[y : y + tile_px, x : x + tile_px])

    for_each(measure, list(shards), workers=workers, what="focus", progress=progress)
    return focus


def chunk_sides(image: zarr.Array[Any]) -> tuple[int, int]:
    """(y, x) sides of an array's chunks."""
    return int(image.chunks[-2]), int(image.chunks[-1])


def _chunks_of(block: tuple[slice, slice], needed: NDArray[np.bool_], chunk_px: tuple[int, int]) -> list[Chunk]:
    rows, columns = (slice(side.start // chunk, -(-side.stop // chunk)) for side, chunk in zip(block, chunk_px, strict=True))
    return [(int(y) + rows.start, int(x) + columns.start) for y, x in np.argwhere(needed[rows, columns])]


def _extent(chunk: Chunk, chunk_px: tuple[int, int], shape_px: tuple[int, int]) -> tuple[slice, slice]:
    y, x = (slice(index * side, min((index + 1) * side, full)) for index, side, full in zip(chunk, chunk_px, shape_px, strict=True))
    return y, x


def _key(block: tuple[slice, slice]) -> str:
    return f"0/{block[0].start}/{block[1].start}"
