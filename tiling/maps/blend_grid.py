"""Division of a slide into blocks for blending.

Blocks end at the edges of the store's shards, and where the last tile that begins in an earlier
shard ends. So a block is complete after as few tiles as possible. Of a later shard, only the strip
that tiles of earlier shards reach into is in memory.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Window

# Rows of blocks in a shard. The sums of a block stay near a processor's cache, and each numpy call
# is still long enough for threads to be useful.
_BLOCK_ROWS = 4


class GridAxis:
    """One axis of the grid: where blocks begin, and which blocks and shards each tile touches.

    Attributes
    ----------
    edges : int64 (blocks + 1,), first pixel of each block, and the length of the axis
    start, stop : int64 (N,), pixels of each tile on the slide; none if stop <= start
    blocks, shards : int64 (N, 2), first and last that a tile touches
    shard_of_block : int64 (blocks,)
    """

    def __init__(
        self,
        origins_px: NDArray[np.int64],
        tile_px: int,
        side_px: int,
        *,
        shard_px: int,
        block_px: int,
    ) -> None:
        self.start, self.stop = np.maximum(origins_px, 0), np.minimum(origins_px + tile_px, side_px)
        shards = np.arange(0, side_px, shard_px, dtype=np.int64)
        reach = np.clip(_reach_into(shards, self.start, tile_px), shards, side_px)
        self.edges = np.unique(
            np.concatenate([shards, reach, np.arange(0, side_px, block_px), [side_px]])
        )
        self.shard_of_block = self.edges[:-1] // shard_px
        ends = np.stack([self.start, np.maximum(self.stop - 1, 0)], axis=1)
        self.blocks = np.searchsorted(self.edges, ends, side="right") - 1
        self.shards = ends // shard_px


class BlendGrid:
    """Blocks and shards of a slide, and how many tiles of each block are missing.

    Attributes
    ----------
    origins : int64 (N, 2), (y, x) of each tile's first pixel
    tile_px : side of a tile
    order : int64 (N,), tiles shard by shard in raster order, and in raster order within each shard:
        of the shards around the current one only strips are in memory
    blocks_of_shard : int64 (shard rows, shard columns), number of blocks that any tile touches
    """

    def __init__(
        self,
        origins_yx_px: NDArray[np.int64],
        tile_px: int,
        shape: tuple[int, int],
        *,
        shard_px: tuple[int, int],
    ) -> None:
        self.origins, self.tile_px = origins_yx_px, tile_px
        block_px = -(-shard_px[0] // _BLOCK_ROWS), shard_px[1]
        self.rows, self.columns = (
            GridAxis(
                origins_yx_px[:, axis],
                tile_px,
                shape[axis],
                shard_px=shard_px[axis],
                block_px=block_px[axis],
            )
            for axis in (0, 1)
        )
        y, x = origins_yx_px.T
        self.order = np.lexsort((x, y, self.columns.shards[:, 0], self.rows.shards[:, 0]))
        self._on_slide = (self.rows.stop > self.rows.start) & (
            self.columns.stop > self.columns.start
        )
        missing_tiles = self._tiles_of_blocks()
        # Lists, and not arrays: single items of lists take a fifth of the time, and the other
        # threads wait for it.
        self._missing_tiles = missing_tiles.tolist()
        self._row_range, self._column_range = (
            self.rows.blocks.tolist(),
            self.columns.blocks.tolist(),
        )
        self._shard_of = self.rows.shard_of_block.tolist(), self.columns.shard_of_block.tolist()
        shards = -(-shape[0] // shard_px[0]), -(-shape[1] // shard_px[1])
        self.blocks_of_shard = np.zeros(shards, np.int64)
        rows, columns = np.nonzero(missing_tiles)
        touched = self.rows.shard_of_block[rows], self.columns.shard_of_block[columns]
        np.add.at(self.blocks_of_shard, touched, 1)

    @property
    def largest_block_px(self) -> int:
        """Number of pixels that no block exceeds."""
        height, width = (
            int(np.diff(axis.edges).max(initial=0)) for axis in (self.rows, self.columns)
        )
        return height * width

    def blocks_of_tile(self, tile: int) -> Iterator[tuple[int, int]]:
        """Blocks (row, column) that a tile touches."""
        if not self._on_slide[tile]:
            return
        (top, bottom), (left, right) = self._row_range[tile], self._column_range[tile]
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                yield row, column

    def shard_of_block(self, block: tuple[int, int]) -> tuple[int, int]:
        """Shard (row, column) that holds a block."""
        return self._shard_of[0][block[0]], self._shard_of[1][block[1]]

    def window(self, block: tuple[int, int]) -> Window:
        """Rectangle of the slide that a block covers."""
        row, column = block
        y, bottom = self.rows.edges[row : row + 2].tolist()
        x, right = self.columns.edges[column : column + 2].tolist()
        return Window(y, x, bottom - y, right - x)

    def count_tile(self, block: tuple[int, int]) -> bool:
        """Count one tile of a block; returns whether the block now has all its tiles."""
        row, column = block
        left = self._missing_tiles[row][column] - 1
        self._missing_tiles[row][column] = left
        return bool(left == 0)

    def tiles_touching(self, shards: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which tiles touch any of the given shards, bool (N,).

        Parameters
        ----------
        shards : bool (shard rows, shard columns)
        """
        # A summed-area table: the number of given shards in any rectangle takes four look-ups.
        sums = np.pad(shards.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        touching = np.zeros(len(self.origins), bool)
        on_slide = np.flatnonzero(self._on_slide)
        (top, bottom), (left, right) = (
            axis.shards[on_slide].T for axis in (self.rows, self.columns)
        )
        bottom, right = bottom + 1, right + 1
        count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        touching[on_slide] = count > 0
        return touching

    def _tiles_of_blocks(self) -> NDArray[np.int64]:
        """Number of tiles that touch each block (one row and column more than there are blocks)."""
        steps = np.zeros((len(self.rows.edges), len(self.columns.edges)), np.int64)
        (top, bottom), (left, right) = (
            axis.blocks[self._on_slide].T for axis in (self.rows, self.columns)
        )
        np.add.at(steps, (top, left), 1)
        np.add.at(steps, (bottom + 1, left), -1)
        np.add.at(steps, (top, right + 1), -1)
        np.add.at(steps, (bottom + 1, right + 1), 1)
        return steps.cumsum(0).cumsum(1)


def _reach_into(
    shards: NDArray[np.int64], starts: NDArray[np.int64], tile_px: int
) -> NDArray[np.int64]:
    """Where the last tile that begins before each shard ends; 0 without such a tile."""
    if not len(starts):
        return np.zeros_like(shards)
    ordered = np.sort(starts)
    before = np.searchsorted(ordered, shards)
    return np.where(before > 0, ordered[before - 1] + tile_px, 0)
