"""Sharpness of tiles, from sums over small cells that are computed while the pixels are in memory.

The score of an area is the mean square of the Laplacian divided by the variance of the grey values:
pale tissue has small values of both, and must not count as blurred. It is 0 for a uniform area, and
larger where the image is sharper. Only scores at the same resolution can be compared.
"""

import numpy as np
from numpy.typing import NDArray

from tiling.tiles.tile_grid import coverage

CELL_PX = 64
# Number of pixels, sum of grey values, of their squares, and of the squares of their Laplacian.
_SUMS = 4
# Neighbouring rows have similar sharpness: every fourth row gives nearly the same score in a
# quarter of the time.
_ROW_STEP = 4
_MIN_VARIANCE = 1.0  # below one squared grey value there is only rounding


def no_sums(height_px: int, width_px: int) -> NDArray[np.float32]:
    """Sums of an image without pixels, float32 (rows of cells, columns of cells, 4)."""
    return np.zeros((-(-height_px // CELL_PX), -(-width_px // CELL_PX), _SUMS), np.float32)


def cell_sums(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Sums over cells of 64 x 64 px, from every fourth row of pixels.

    Parameters
    ----------
    gray : uint8 (h, w), (0, 0) is the corner of a cell; edges are repeated for the Laplacian

    Returns
    -------
    float32 (rows of cells, columns of cells, 4): number of pixels, sum of grey values, of their
    squares, and of the squared Laplacian
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
    values_f, laplacian_f = values.astype(np.float32), laplacian.astype(np.float32)
    row_counts = _cell_lengths(len(rows), CELL_PX // _ROW_STEP)
    counts = np.outer(row_counts, _cell_lengths(width, CELL_PX))
    squares = (values_f, values_f * values_f, laplacian_f * laplacian_f)
    return np.stack([counts, *(_sum_per_cell(part) for part in squares)], axis=-1)


def tile_focus(
    sums: NDArray[np.float32],
    origin_yx_px: NDArray[np.int64],
    tile_px: int,
    shape_px: tuple[int, int],
) -> NDArray[np.float32]:
    """Focus score of every tile, float32 (N,), over its part inside the slide.

    Parameters
    ----------
    sums : of the complete slide, see `cell_sums`; a cell that is partly inside a tile counts by
        that part
    origin_yx_px : int64 (N, 2), stored pixels
    tile_px : side of a tile
    shape_px : (height, width) of the slide in stored pixels
    """
    rows, row = np.unique(origin_yx_px[:, 0], return_inverse=True)
    columns, column = np.unique(origin_yx_px[:, 1], return_inverse=True)
    row_share, column_share = (
        coverage(low, np.minimum(low + tile_px, side), CELL_PX, side) / _cell_lengths(side, CELL_PX)
        for low, side in zip((rows, columns), shape_px, strict=True)
    )
    count, total, squares, laplacian_squares = (
        row_share @ sums[..., k].astype(np.float64) @ column_share.T for k in range(_SUMS)
    )
    count = np.maximum(count, 1)
    variance = squares / count - (total / count) ** 2
    score = laplacian_squares / count / np.maximum(variance, _MIN_VARIANCE)
    score = np.where(variance < _MIN_VARIANCE, 0, score)
    return np.asarray(score[row, column], np.float32)


def _cell_lengths(length: int, cell: int) -> NDArray[np.float32]:
    """Number of rows (or columns) in each cell along an axis of this length."""
    edges = np.minimum(np.arange(-(-length // cell) + 1) * cell, length)
    return np.diff(edges).astype(np.float32)


def _sum_per_cell(values: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = values.shape
    cell_rows = CELL_PX // _ROW_STEP
    if height % cell_rows or width % CELL_PX:
        values = np.pad(values, ((0, -height % cell_rows), (0, -width % CELL_PX)))
    # Rows first: sums of complete rows are fastest.
    rows = values.reshape(-1, cell_rows, values.shape[1]).sum(axis=1)
    return np.asarray(rows.reshape(len(rows), -1, CELL_PX).sum(axis=2), np.float32)
