"""One pass over the labels of a slide: outlines for the thumbnail, and measures of each gland.

Arrays are read block by block, and only where there are objects: memory does not grow with the
slide.
"""

from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.pictures.canvas import Thumbnail, mark_pixels
from tiling.raster.edges import inner_edges
from tiling.raster.geometry import Block, blocks, halo
from tiling.stores.shards import ShardReader


class LabelScan(NamedTuple):
    """Result of one pass over the labels.

    Attributes
    ----------
    edges : bool (h, w) on the grid of the thumbnail, outlines
    disagreement : float64 (N,), mean quantised disagreement (0..255) of each object
    contact_px : int64 (N,), pixel edges shared with other objects
    """

    edges: NDArray[np.bool_]
    disagreement: NDArray[np.float64]
    contact_px: NDArray[np.int64]


def scan_labels(
    labels: zarr.Array[Any] | ShardReader,
    disagreement: zarr.Array[Any] | ShardReader,
    windows_px: NDArray[np.int64],
    area_px: NDArray[np.int64],
    thumbnail: Thumbnail,
    *,
    block_px: int,
) -> LabelScan:
    """Read the labels once, in the blocks that contain objects.

    Parameters
    ----------
    labels : int32 (y, x), 0 background, 1..N
    disagreement : uint8 (y, x)
    windows_px, area_px : of the object table, row i = label i + 1
    thumbnail : gives the grid of the edges
    block_px : side of a block
    """
    height, width = labels.shape
    edges = np.zeros((thumbnail.image.height, thumbnail.image.width), bool)
    total = np.zeros(len(area_px) + 1)
    contact_px = np.zeros(len(area_px) + 1, np.int64)
    for block in _occupied_blocks(blocks(height, width, block_px), windows_px, block_px, width):
        outer, inner = halo(block, 1, height, width)
        part = np.asarray(labels[outer])
        edge_pixels = inner_edges(part)
        mark_pixels(edges, edge_pixels[inner], block, thumbnail)
        numbers = part[inner]
        inside = numbers > 0
        sums = np.bincount(numbers[inside], np.asarray(disagreement[block])[inside])
        total[: len(sums)] += sums
        _add_contact(contact_px, part, edge_pixels, inner)
    return LabelScan(edges, total[1:] / np.maximum(area_px, 1), contact_px[1:])


def _occupied_blocks(
    all_blocks: list[Block], windows_px: NDArray[np.int64], block_px: int, width_px: int
) -> list[Block]:
    """Blocks that the window of an object reaches into, in raster order."""
    columns = -(-width_px // block_px)
    indices: set[int] = set()
    for y, x, height, width in windows_px.tolist():
        first_column, last_column = x // block_px, (x + width - 1) // block_px
        for row in range(y // block_px, (y + height - 1) // block_px + 1):
            indices.update(range(row * columns + first_column, row * columns + last_column + 1))
    return [all_blocks[index] for index in sorted(indices)]


def _add_contact(
    contact_px: NDArray[np.int64],
    part: NDArray[np.int32],
    edge_pixels: NDArray[np.bool_],
    inner: Block,
) -> None:
    """Add the pixel edges that each object of a block shares with other objects.

    Only pixels at the edge of an object share one. Each of the two pixels of an edge is counted in
    the block that contains it.
    """
    rows, columns = inner
    y, x = np.nonzero(edge_pixels[inner])
    y, x = y + rows.start, x + columns.start
    own = part[y, x]
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        row, column = y + dy, x + dx
        is_in_part = (row >= 0) & (row < part.shape[0]) & (column >= 0) & (column < part.shape[1])
        other = part[row[is_in_part], column[is_in_part]]
        numbers = own[is_in_part]
        touching = numbers[(other != numbers) & (other != 0)]
        counts = np.bincount(touching)
        contact_px[: len(counts)] += counts
