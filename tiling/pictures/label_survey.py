"""One pass over a slide's labels: outlines on the thumbnail's grid, and what decides which glands deserve a close look.

Arrays are read block by block, and only where there are objects: memory does not grow with the slide.
"""

from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.pictures.canvas import Thumbnail, inner_edges
from tiling.raster.geometry import blocks, halo


class Survey(NamedTuple):
    """What one pass over the labels finds.

    Attributes
    ----------
    edges : bool (h, w) on the thumbnail's grid, outlines
    disagreement : float64 (N,), mean code 0..255 of each object
    contact_px : int64 (N,), pixel edges shared with other objects
    """

    edges: NDArray[np.bool_]
    disagreement: NDArray[np.float64]
    contact_px: NDArray[np.int64]


def survey_labels(
    labels: zarr.Array[Any],
    disagreement: zarr.Array[Any],
    windows_px: NDArray[np.int64],
    area_px: NDArray[np.int64],
    small: Thumbnail,
    *,
    block_px: int,
) -> Survey:
    """Outlines on the thumbnail's grid and measures of each object, in one pass over the blocks that hold objects.

    Parameters
    ----------
    labels : int32 (y, x), 0 background, 1..N
    disagreement : uint8 (y, x)
    windows_px, area_px : of the object table, row i = label i + 1
    small : thumbnail, gives the grid
    block_px : side of a block
    """
    height, width = labels.shape
    edges = np.zeros((small.image.height, small.image.width), bool)
    total = np.zeros(len(area_px) + 1)
    contact = np.zeros(len(area_px) + 1, np.int64)
    for block in _occupied(blocks(height, width, block_px), windows_px, block_px, width):
        outer, inner = halo(block, 1, height, width)
        part = np.asarray(labels[outer])
        y, x = np.nonzero(inner_edges(part)[inner])
        # The centre of a stored pixel decides where on the thumbnail it falls.
        rows = ((y + block[0].start + 0.5) / small.px_per_pixel[0]).astype(np.int64)
        columns = ((x + block[1].start + 0.5) / small.px_per_pixel[1]).astype(np.int64)
        edges[np.minimum(rows, edges.shape[0] - 1), np.minimum(columns, edges.shape[1] - 1)] = True
        total += np.bincount(
            part[inner].ravel(), np.asarray(disagreement[block]).ravel(), minlength=len(total)
        )
        _count_contact(contact, part, inner)
    return Survey(edges, total[1:] / np.maximum(area_px, 1), contact[1:])


def _occupied(
    parts: list[tuple[slice, slice]], windows_px: NDArray[np.int64], block_px: int, width: int
) -> list[tuple[slice, slice]]:
    """Blocks that an object's window reaches into, raster order."""
    across = -(-width // block_px)
    hit: set[int] = set()
    for y, x, h, w in windows_px.tolist():
        for row in range(y // block_px, (y + h - 1) // block_px + 1):
            hit.update(
                range(row * across + x // block_px, row * across + (x + w - 1) // block_px + 1)
            )
    return [parts[index] for index in sorted(hit)]


def _count_contact(
    contact: NDArray[np.int64], part: NDArray[np.int32], inner: tuple[slice, slice]
) -> None:
    """Add each object's pixel edges with other objects; an edge across two blocks is counted by each for its own pixel."""
    for axis in (0, 1):
        low = part[:-1] if axis == 0 else part[:, :-1]
        high = part[1:] if axis == 0 else part[:, 1:]
        y, x = np.nonzero((low != high) & (low != 0) & (high != 0))
        for label, dy, dx in ((low[y, x], 0, 0), (high[y, x], 1 - axis, axis)):
            row, column = y + dy, x + dx
            mine = (
                (row >= inner[0].start)
                & (row < inner[0].stop)
                & (column >= inner[1].start)
                & (column < inner[1].stop)
            )
            np.add.at(contact, label[mine], 1)
