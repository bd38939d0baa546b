"""Sharpness of tiles, from sums over small cells that are taken while the pixels are in memory.

The score of an area is the mean square of the Laplacian over the variance of the grey values, so that pale tissue is not called blurred:
0 for an even area, larger is sharper. Compare within one resolution only.
"""

import numpy as np
from numpy.typing import NDArray

from tiling.tiles.tile_grid import coverage

CELL_PX = 64
_SUMS = 4  # pixels looked at, grey values, their squares, the squares of their Laplacian
_ROW_STEP = 4  # sharpness of neighbouring rows is alike: every fourth tells as much for a quarter of the time
_LEAST_VARIANCE = 1.0  # under one grey value squared there is nothing but rounding


def no_sums(height_px: int, width_px: int) -> NDArray[np.float32]:
    """Sums of an image without pixels, float32 (rows of cells, columns, 4)."""
    return np.zeros((-(-height_px // CELL_PX), -(-width_px // CELL_PX), _SUMS), np.float32)


def cell_sums(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Sums over cells of 64 x 64 px, float32 (rows, columns, 4): pixels looked at, grey values, their squares, squared Laplacian.

    Parameters
    ----------
    gray : uint8 (h, w), (0, 0) at the corner of a cell; its edges are repeated for the Laplacian
    """
    height, width = gray.shape
    rows = np.arange(0, height, _ROW_STEP)
    values = gray[rows].astype(np.int16)
    laplacian = gray[np.maximum(rows - 1, 0)].astype(np.int16)
    laplacian += gray[np.minimum(rows + 1, height - 1)]
    laplacian -= 4 * values
    laplacian[:, 1:] += values[:, :-1]
    laplacian[:, :-1] += values[:, 1:]
    laplacian[:, 0] += values[:, 0]
    laplacian[:, -1] += values[:, -1]
    wide, bent = values.astype(np.float32), laplacian.astype(np.float32)
    sums = [_per_cell(part) for part in (wide, wide * wide, bent * bent)]
    return np.stack(
        [np.outer(_counts(len(rows), CELL_PX // _ROW_STEP), _counts(width, CELL_PX)), *sums],
        axis=-1,
    )


def tile_focus(
    sums: NDArray[np.float32],
    origin_yx_px: NDArray[np.int64],
    tile_px: int,
    shape_px: tuple[int, int],
) -> NDArray[np.float32]:
    """Focus score of every tile, float32 (N,), over its part inside the slide.

    Parameters
    ----------
    sums : of the whole slide, see `cell_sums`; a cell that a tile covers in part counts by that part
    origin_yx_px : int64 (N, 2), stored pixels
    tile_px : side of a tile
    shape_px : (height, width) of the slide in stored pixels
    """
    rows, row = np.unique(origin_yx_px[:, 0], return_inverse=True)
    columns, column = np.unique(origin_yx_px[:, 1], return_inverse=True)
    share = [
        coverage(low, np.minimum(low + tile_px, side), CELL_PX, side) / _counts(side, CELL_PX)
        for low, side in zip((rows, columns), shape_px, strict=True)
    ]
    looked_at, total, squares, bent = (
        share[0] @ sums[..., k].astype(np.float64) @ share[1].T for k in range(_SUMS)
    )
    looked_at = np.maximum(looked_at, 1)
    variance = squares / looked_at - (total / looked_at) ** 2
    score = np.where(
        variance < _LEAST_VARIANCE, 0, bent / looked_at / np.maximum(variance, _LEAST_VARIANCE)
    )
    return np.asarray(score[row, column], np.float32)


def _counts(length: int, cell: int) -> NDArray[np.float32]:
    """How many of `length` rows or columns each cell holds."""
    return np.diff(np.minimum(np.arange(-(-length // cell) + 1) * cell, length)).astype(np.float32)


def _per_cell(values: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = values.shape
    cell_rows = CELL_PX // _ROW_STEP
    if height % cell_rows or width % CELL_PX:
        values = np.pad(values, ((0, -height % cell_rows), (0, -width % CELL_PX)))
    # Rows first: a sum of whole rows is what the processor does fastest.
    rows = values.reshape(-1, cell_rows, values.shape[1]).sum(axis=1)
    return np.asarray(rows.reshape(len(rows), -1, CELL_PX).sum(axis=2), np.float32)
