"""From predicted tiles to written shards: threads blend blocks, and other threads write shards."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from tiling.maps.blend_block import BlendBlock, WorkBuffers
from tiling.maps.blend_grid import BlendGrid
from tiling.raster.geometry import Window
from tiling.stores.atomic_store import UnfinishedStore
from tiling.stores.shards import ShardWriter

log = logging.getLogger(__name__)

# bool (h, w) of a window: where maps are kept. Elsewhere (on glass) they are 0.
ReadMask = Callable[[Window], NDArray[np.bool_]]
# Chunks of a shard by (row, column) within it, see `ShardWriter.encode_chunks`.
EncodedChunks = dict[tuple[int, int], bytes | None]


@dataclass(frozen=True)
class BlendTarget:
    """Where blended maps are written.

    Attributes
    ----------
    store : records which shards are finished
    writers : one for each map
    sdf_index : which of the maps is the sdf; None: none
    read_mask : where maps are kept; None: everywhere
    """

    store: UnfinishedStore
    writers: list[ShardWriter]
    sdf_index: int | None
    read_mask: ReadMask | None


class ShardBlender:
    """Adds tiles to blocks, blends blocks that have all their tiles, and writes complete shards.

    Use it as a context manager: it waits for its threads at the end.

    Attributes
    ----------
    missing : bool (shard rows, shard columns), shards with tiles that no earlier run has written
    """

    def __init__(self, grid: BlendGrid, target: BlendTarget, *, workers: int) -> None:
        self._grid, self._target = grid, target
        self._blocks_left = grid.blocks_of_shard.copy()
        self.missing = grid.blocks_of_shard > 0
        for row, column in np.argwhere(self.missing).tolist():
            self.missing[row, column] = not target.store.is_finished(_key(row, column))
        self._missing_shards = {(row, column) for row, column in np.argwhere(self.missing).tolist()}
        self._blocks: dict[tuple[int, int], BlendBlock] = {}
        self._quantised: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._lock = threading.Lock()
        self._buffers: SimpleQueue[WorkBuffers] = SimpleQueue()
        for _ in range(workers):
            self._buffers.put(WorkBuffers(grid.tile_px, grid.largest_block_px))
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers)
        self._unfinished: list[Future[None]] = []
        # The tiles of a block take much memory: only a few complete blocks may wait.
        self._free_places = threading.Semaphore(2 * workers)
        # Each file is brought to the disk before the next one: the threads that blend need not wait
        # for that.
        self._writing_pool = ThreadPoolExecutor(workers)
        self._unwritten: deque[Future[None]] = deque()

    def __enter__(self) -> "ShardBlender":
        return self

    def __exit__(self, *error: object) -> None:
        # Complete blocks are written even if the next prediction failed.
        self._pool.shutdown()
        self._writing_pool.shutdown()
        futures = [*self._unfinished, *self._unwritten]
        if error[0] is None:
            for future in futures:
                future.result()
            return
        for future in futures:
            if (other := future.exception()) is not None and other is not error[1]:
                log.error("blending failed as well: %s: %s", type(other).__name__, other)

    def add(self, tile: int, maps: NDArray[np.float32]) -> None:
        """Add one tile, float32 (maps, T, T), to the blocks that it overlaps."""
        y, x = self._grid.origins[tile].tolist()
        first_shard = None
        for place in self._grid.blocks_of_tile(tile):
            shard = self._grid.shard_of_block(place)
            first_shard = first_shard or shard
            if shard not in self._missing_shards:
                continue
            block = self._blocks.get(place)
            if block is None:
                block = BlendBlock(self._grid.window(place), self._grid.tile_px)
                self._blocks[place] = block
            # Other shards may be written much later: of the tile, only a copied strip is kept.
            block.add(maps, y, x, copy=shard != first_shard)
            if self._grid.count_tile(place):
                self._free_places.acquire()
                self._raise_errors()
                complete = self._blocks.pop(place)
                self._unfinished.append(self._pool.submit(self._finish, shard, complete))

    def _raise_errors(self) -> None:
        """Raise the error of a block that ended with one."""
        ended = [future for future in self._unfinished if future.done()]
        self._unfinished = [future for future in self._unfinished if future not in ended]
        for future in ended:
            future.result()

    def _finish(self, shard: tuple[int, int], block: BlendBlock) -> None:
        try:
            self._blend(shard, block)
        finally:
            self._free_places.release()

    def _blend(self, shard: tuple[int, int], block: BlendBlock) -> None:
        """Blend a block, and encode its shard if it was the last one."""
        window, read_mask = block.window, self._target.read_mask
        quantised = self._shard_array(shard)
        mask = None if read_mask is None else read_mask(window)
        top, left = self._shard_origin(shard)
        rows, columns = window._replace(y=window.y - top, x=window.x - left).slices
        buffers = self._buffers.get()
        try:
            block.write_means(
                quantised[:, rows, columns], buffers, mask=mask, sdf_index=self._target.sdf_index
            )
        finally:
            self._buffers.put(buffers)
        with self._lock:
            self._blocks_left[shard] -= 1
            is_complete = self._blocks_left[shard] == 0
            if is_complete:
                del self._quantised[shard]
        if is_complete:
            writers = self._target.writers
            chunks = [
                writer.encode_chunks(pixels)
                for writer, pixels in zip(writers, quantised, strict=True)
            ]
            self._write_later(shard, chunks)

    def _write_later(self, shard: tuple[int, int], chunks: list[EncodedChunks]) -> None:
        """Let another thread write the chunks of each map; only a few shards may wait for it."""
        with self._lock:
            self._unwritten.append(self._writing_pool.submit(self._write, shard, chunks))
            is_full = len(self._unwritten) > 2 * self._workers
            oldest = self._unwritten.popleft() if is_full else None
        if oldest is not None:
            oldest.result()

    def _write(self, shard: tuple[int, int], chunks: list[EncodedChunks]) -> None:
        writers = self._target.writers
        for writer, chunks_of_map in zip(writers, chunks, strict=True):
            writer.write(shard, chunks_of_map)
        files = [writer.path(shard) for writer in writers]
        self._target.store.record_finished(_key(*shard), files=files)

    def _shard_array(self, shard: tuple[int, int]) -> NDArray[np.uint8]:
        """Quantised maps of a shard, uint8 (maps, h, w); 0 at first."""
        writer = self._target.writers[0]
        top, left = self._shard_origin(shard)
        height = min(writer.shard_px[0], writer.shape_px[0] - top)
        width = min(writer.shard_px[1], writer.shape_px[1] - left)
        with self._lock:
            if shard not in self._quantised:
                maps = len(self._target.writers)
                self._quantised[shard] = np.zeros((maps, height, width), np.uint8)
            return self._quantised[shard]

    def _shard_origin(self, shard: tuple[int, int]) -> tuple[int, int]:
        """First row and column of a shard."""
        height, width = self._target.writers[0].shard_px
        return shard[0] * height, shard[1] * width


def _key(row: int, column: int) -> str:
    return f"{row}/{column}"
