"""The grid of tiles: it starts at the slide's origin and does not depend on the tissue."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.blending import grid_origins


class TileTable(NamedTuple):
    """Tiles with tissue, in raster order of the grid.

    Attributes
    ----------
    origin_yx_px : int64 (N, 2), stored pixels; a tile may overhang the far edges of the slide
    tissue, pen : float32 (N,), share of the tile's area inside the slide
    """

    origin_yx_px: NDArray[np.int64]
    tissue: NDArray[np.float32]
    pen: NDArray[np.float32]


class _Axis(NamedTuple):
    """The grid along one axis: origins of the tiles, and their first and last pixel edges."""

    origin: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    side_px: int


def choose_tiles(
    tissue: NDArray[np.bool_],
    pen: NDArray[np.bool_],
    *,
    shape_px: tuple[int, int],
    coarse_px: int,
    tile_px: int,
    overlap_px: int,
    min_tissue: float,
) -> TileTable:
    """Tiles with enough tissue, and further tiles until every tissue pixel is inside a tile.

    Parameters
    ----------
    tissue, pen : bool (rows, columns) on the coarse grid
    shape_px : (height, width) of the stored array
    coarse_px : stored pixels per coarse pixel
    tile_px, overlap_px : side of a tile and overlap of neighbours, stored pixels
    min_tissue : least share of tissue in the tile's area inside the slide; 0: every tile, also on
        glass
    """
    stride = tile_px - overlap_px
    axes = [_axis(side, tile_px, stride) for side in shape_px]
    tissue_share = _window_shares(tissue, coarse_px, axes)
    chosen = tissue_share >= min_tissue
    missing = tissue & ~_covered(chosen, tissue.shape, coarse_px, axes)
    _choose_over_corners(chosen, missing, coarse_px, stride, shape_px)
    index = np.argwhere(chosen)
    origins = [axis.origin[index[:, number]] for number, axis in enumerate(axes)]
    pen_share = _window_shares(pen, coarse_px, axes)
    return TileTable(
        np.stack(origins, axis=1).astype(np.int64).reshape(-1, 2),
        tissue_share[chosen].astype(np.float32),
        pen_share[chosen].astype(np.float32),
    )


def chunks_under(
    origin_yx_px: NDArray[np.int64],
    tile_px: int,
    shape_px: tuple[int, int],
    chunk_px: tuple[int, int],
) -> NDArray[np.bool_]:
    """Chunks that overlap at least one tile.

    Parameters
    ----------
    origin_yx_px : int64 (N, 2), stored pixels
    tile_px : side of a tile
    shape_px, chunk_px : (y, x) sizes of the array and of its chunks

    Returns
    -------
    bool (chunk rows, chunk columns)
    """
    counts = [-(-side // chunk) for side, chunk in zip(shape_px, chunk_px, strict=True)]
    needed = np.zeros(counts, bool)
    for y, x in origin_yx_px:
        rows = slice(y // chunk_px[0], -(-(y + tile_px) // chunk_px[0]))
        columns = slice(x // chunk_px[1], -(-(x + tile_px) // chunk_px[1]))
        needed[rows, columns] = True
    return needed


def coverage(
    low: NDArray[np.int64], high: NDArray[np.int64], coarse_px: int, side_px: int
) -> NDArray[np.float64]:
    """How many stored pixels of each coarse pixel are inside each window, along one axis.

    Parameters
    ----------
    low, high : int64 (windows,), first and last pixel edges of the windows
    coarse_px : stored pixels per coarse pixel
    side_px : length of the axis in stored pixels

    Returns
    -------
    float64 (windows, coarse pixels)
    """
    edges = np.minimum(np.arange(-(-side_px // coarse_px) + 1) * coarse_px, side_px)
    inside = np.minimum(high[:, None], edges[None, 1:]) - np.maximum(low[:, None], edges[None, :-1])
    return np.asarray(np.clip(inside, 0, None), np.float64)


def _axis(side_px: int, tile_px: int, stride_px: int) -> _Axis:
    origin = grid_origins(side_px, tile_px, stride_px)
    low, high = np.minimum(origin, side_px), np.minimum(origin + tile_px, side_px)
    return _Axis(origin, low, high, side_px)


def _window_shares(
    mask: NDArray[np.bool_], coarse_px: int, axes: list[_Axis]
) -> NDArray[np.float64]:
    """Exact share of a coarse mask in every window of the grid: float64 (rows, columns)."""
    rows, columns = (coverage(axis.low, axis.high, coarse_px, axis.side_px) for axis in axes)
    height, width = (axis.high - axis.low for axis in axes)
    covered: NDArray[np.float64] = rows @ mask.astype(np.float64) @ columns.T
    return np.asarray(covered / (height[:, None] * width[None, :]), np.float64)


def _covered(
    chosen: NDArray[np.bool_], shape: tuple[int, ...], coarse_px: int, axes: list[_Axis]
) -> NDArray[np.bool_]:
    """Coarse pixels that are completely inside a chosen tile: bool `shape`."""
    covered = np.zeros(shape, bool)
    row_spans, column_spans = (_inner_spans(axis, coarse_px) for axis in axes)
    starts, stops = column_spans.T
    for row in np.flatnonzero(chosen.any(axis=1)):
        # +1 where a tile starts and -1 where it ends: the running sum counts tiles over a pixel.
        steps = np.zeros(shape[1] + 1, np.int64)
        np.add.at(steps, starts[chosen[row]], 1)
        np.add.at(steps, np.maximum(starts, stops)[chosen[row]], -1)
        covered[slice(*row_spans[row])] |= np.cumsum(steps)[:-1] > 0
    return covered


def _choose_over_corners(
    chosen: NDArray[np.bool_],
    missing: NDArray[np.bool_],
    coarse_px: int,
    stride: int,
    shape_px: tuple[int, int],
) -> None:
    """Choose the tiles over the four corners of every missing coarse pixel, in place."""
    rows, columns = np.nonzero(missing)
    last_row, last_column = chosen.shape[0] - 1, chosen.shape[1] - 1
    for y in (rows * coarse_px, np.minimum((rows + 1) * coarse_px, shape_px[0]) - 1):
        tile_row = np.minimum(y // stride, last_row)
        for x in (columns * coarse_px, np.minimum((columns + 1) * coarse_px, shape_px[1]) - 1):
            chosen[tile_row, np.minimum(x // stride, last_column)] = True


def _inner_spans(axis: _Axis, coarse_px: int) -> NDArray[np.int64]:
    """The coarse pixels that are completely inside each tile, along one axis.

    Returns
    -------
    int64 (tiles, 2): the first coarse pixel, and the one after the last
    """
    coarse_side = -(-axis.side_px // coarse_px)
    stop = np.where(axis.high == axis.side_px, coarse_side, axis.high // coarse_px)
    return np.stack([-(-axis.low // coarse_px), stop], axis=1)
