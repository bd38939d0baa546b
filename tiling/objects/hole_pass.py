"""Small holes of the glands of a slide, block by block, with an exact result.

The rule is that of `tiling.raster.holes`. Parts of the background are joined across blocks. In the
files of a block, a part that may be a hole has a label of its own above those of the objects.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.objects.block_cache import BlockBorders, BlockFiles
from tiling.objects.components import BlockComponents, BlockGrid, join_components, label_runs
from tiling.raster.holes import BackgroundParts, measure_parts
from tiling.raster.runs import find_runs


class LabelFiles(NamedTuple):
    """The grown labels of all blocks, and the gland of each label.

    Attributes
    ----------
    blocks, borders : the labels; the borders are one pixel wide
    gland_of_label : int32 (labels + 1,) of a block with labels, by its index
    """

    blocks: BlockFiles
    borders: BlockBorders
    gland_of_label: Callable[[int], NDArray[np.int32]]


class PartsOfBlock(NamedTuple):
    """The background of one block.

    Attributes
    ----------
    components : 4-connected components of the background; None without background
    measured : of each component
    """

    components: BlockComponents | None
    measured: BackgroundParts


class SmallHoles(NamedTuple):
    """The small holes of all glands.

    Attributes
    ----------
    gland_of_part : for each block int32 (n,), the gland of each part of the background; 0: no hole
    gland, area_px : gland and area of each hole
    """

    gland_of_part: list[NDArray[np.int32]]
    gland: NDArray[np.int32]
    area_px: NDArray[np.int64]


def find_small_parts(
    files: LabelFiles, grid: BlockGrid, index: int, min_hole_px: float
) -> PartsOfBlock:
    """Measure the background of a block, and write labels of its small parts into its file.

    Parameters
    ----------
    index : of the block
    min_hole_px : smallest area of a hole that is not small
    """
    block = grid.blocks[index]
    height, width = (side.stop - side.start for side in block)
    is_stored = index in files.blocks
    if not is_stored and height * width >= min_hole_px:
        return _empty_block(grid, index)
    gland_of_label, labels = np.zeros(1, np.int32), np.zeros((height, width), np.int32)
    if is_stored:
        gland_of_label = files.gland_of_label(index)
        labels = files.blocks.read_block(index, np.arange(len(gland_of_label), dtype=np.int32))
    glands = gland_of_label[labels]
    runs = find_runs(glands)
    part, components = label_runs(runs, runs.value == 0, block, grid.shape[1], diagonal=False)
    if components is None:
        return PartsOfBlock(None, BackgroundParts.empty(0))
    area_px = np.bincount(part, runs.length, len(components.first_px) + 1).astype(np.int64)
    is_small = area_px < min_hole_px
    is_small[0] = False
    if not is_small.any():
        return PartsOfBlock(components, _without_neighbours(area_px[1:]))
    small = np.where(is_small[part], part, 0)
    lookups = {other: files.gland_of_label(other) for other in files.borders.stored_around(index)}
    glands_with_halo = files.borders.with_halo(index, glands, lookups)[1:-1, 1:-1]
    measured = measure_parts(
        runs._replace(value=small).to_array((height, width)),
        len(area_px) - 1,
        glands_with_halo,
        (block[0].start, block[1].start),
        grid.shape,
    )
    # A run of one gland may have several labels: any of them gives the same gland.
    value = np.where(small > 0, small + (len(gland_of_label) - 1), labels[runs.y, runs.x])
    files.blocks.write(index, runs._replace(value=value.astype(np.int32)))
    return PartsOfBlock(components, measured._replace(area_px=area_px[1:]))


def join_parts(grid: BlockGrid, parts: Sequence[PartsOfBlock], min_hole_px: float) -> SmallHoles:
    """Find the holes of the whole array from the parts of its blocks."""
    joined = join_components(grid, [part.components for part in parts], diagonal=False)
    background = BackgroundParts.empty(len(joined.first_px))
    for numbers, part in zip(joined.numbers, parts, strict=True):
        background.merge(numbers[1:].astype(np.int64) - 1, part.measured)
    gland = background.enclosing_gland(min_hole_px)
    is_hole = gland > 0
    return SmallHoles(
        [gland[numbers[1:] - 1] for numbers in joined.numbers],
        gland[is_hole],
        background.area_px[is_hole],
    )


def _empty_block(grid: BlockGrid, index: int) -> PartsOfBlock:
    """A block without glands is one part of the background."""
    rows, columns = grid.blocks[index]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    first_px = np.array([rows.start * grid.shape[1] + columns.start])
    down, across = np.ones(height, np.int32), np.ones(width, np.int32)
    components = BlockComponents(first_px, across, across, down, down)
    return PartsOfBlock(components, _without_neighbours(np.array([height * width])))


def _without_neighbours(area_px: NDArray[np.int64]) -> BackgroundParts:
    """Parts that are too large for holes: nothing but their area is needed."""
    return BackgroundParts.empty(len(area_px))._replace(area_px=area_px)
