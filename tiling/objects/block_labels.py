"""Labels of the objects of a slide, block by block: what both split rules leave for the rest.

Files of the blocks hold labels of their own. Then the small holes of the glands are found, and the
final numbers are written.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.objects.block_cache import BlockBorders, BlockFiles
from tiling.objects.components import BlockGrid
from tiling.objects.extents import ObjectExtents
from tiling.objects.hole_pass import LabelFiles, SmallHoles, find_small_parts, join_parts
from tiling.parallel import JobSettings, for_each
from tiling.raster.geometry import Block, blocks
from tiling.raster.runs import Runs
from tiling.stores.arrays import SHARD_PX
from tiling.stores.shards import ShardWriter

NumberOfLabels = Callable[[int], NDArray[np.int32]]


class BlockObjects(NamedTuple):
    """The objects in one block.

    Attributes
    ----------
    labels : int64 (n,), those that occur in the file of the block, ascending
    objects : int64 (n,), the object of the whole array that each label belongs to, from 1
    extents : of `labels`
    """

    labels: NDArray[np.int64]
    objects: NDArray[np.int64]
    extents: ObjectExtents


class BlockLabels:
    """Labels of all blocks.

    Parameters
    ----------
    folder : is created
    """

    def __init__(self, folder: Path, grid: BlockGrid, job: JobSettings) -> None:
        self.files = BlockFiles(folder, grid)
        self._grid, self._job = grid, job
        self._borders = BlockBorders(grid, 1)

    def write(self, index: int, runs: Runs) -> None:
        """Write the final labels of a block."""
        self.files.write(index, runs)
        self._borders.store_runs(index, runs)

    def find_holes(self, number_of_labels: NumberOfLabels, min_hole_px: float) -> SmallHoles:
        """Find the small holes of the glands, and give them labels of their own.

        Parameters
        ----------
        number_of_labels : gives the gland of each label of a block, by the block's index
        min_hole_px : smallest area of a hole that is not small
        """
        files = LabelFiles(self.files, self._borders, number_of_labels)
        parts = for_each(
            lambda index: find_small_parts(files, self._grid, index, min_hole_px),
            range(len(self._grid)),
            job=self._job,
            nouns="holes",
        )
        return join_parts(self._grid, parts, min_hole_px)

    def write_numbers(self, labels: zarr.Array[Any], number_of_labels: NumberOfLabels) -> None:
        """Write the final numbers, one shard at a time whatever the block size.

        Parameters
        ----------
        number_of_labels : gives the final number of each label of a block, by the block's index
        """
        writer = ShardWriter(labels)

        def write_shard(block: Block) -> None:
            numbers = self.files.read(block, number_of_labels)
            if numbers is not None:
                shard = block[0].start // SHARD_PX, block[1].start // SHARD_PX
                writer.write_pixels(shard, numbers)

        for_each(write_shard, blocks(*self._grid.shape, SHARD_PX), job=self._job, nouns="labels")
