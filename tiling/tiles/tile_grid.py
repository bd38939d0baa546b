"""The tile grid: fixed to the slide's origin, so that a tile's place never depends on the tissue found."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.blending import grid_origins


class TileTable(NamedTuple):
    """Tiles that hold tissue, in raster order of the grid.

    Attributes
    ----------
    origin_yx_px : int64 (N, 2), stored pixels; a tile may overhang the far edges
    tissue, pen : float32 (N,), share of the tile's area inside the slide
    """

    origin_yx_px: NDArray[np.int64]
    tissue: NDArray[np.float32]
    pen: NDArray[np.float32]


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
    """Tiles whose tissue share is at least `min_tissue`, and those that are needed so that every tissue pixel lies in a tile.

    Parameters
    ----------
    tissue, pen : bool (rows, columns) on the coarse grid
    shape_px : (height, width) of the stored array
    coarse_px : stored pixels per coarse pixel
    tile_px, overlap_px : side of a tile and overlap of neighbours, stored pixels
    min_tissue : share of a tile's area inside the slide
    """
    stride = tile_px - overlap_px
    origins = [grid_origins(side, tile_px, stride) for side in shape_px]
    low = [np.minimum(axis, side) for axis, side in zip(origins, shape_px, strict=True)]
    high = [np.minimum(axis + tile_px, side) for axis, side in zip(origins, shape_px, strict=True)]
    share = _window_shares(tissue, coarse_px, shape_px, low, high)
    chosen = (share >= min_tissue) & (share > 0)

    # Each coarse tissue pixel that no chosen tile covers adds the tiles over its corners.
    covered = np.zeros(tissue.shape, bool)
    starts, stops = np.array(
        [
            _coarse_inside(*span, coarse_px, shape_px[1])
            for span in zip(low[1], high[1], strict=True)
        ]
    ).T
    for row in np.flatnonzero(chosen.any(axis=1)):
        steps = np.zeros(tissue.shape[1] + 1, np.int64)
        np.add.at(steps, starts[chosen[row]], 1)
        np.add.at(steps, np.maximum(starts, stops)[chosen[row]], -1)
        covered[slice(*_coarse_inside(low[0][row], high[0][row], coarse_px, shape_px[0]))] |= (
            np.cumsum(steps)[:-1] > 0
        )
    rows, columns = np.nonzero(tissue & ~covered)
    for corner_y in (rows * coarse_px, np.minimum((rows + 1) * coarse_px, shape_px[0]) - 1):
        for corner_x in (
            columns * coarse_px,
            np.minimum((columns + 1) * coarse_px, shape_px[1]) - 1,
        ):
            last_row, last_column = len(origins[0]) - 1, len(origins[1]) - 1
            chosen[
                np.minimum(corner_y // stride, last_row),
                np.minimum(corner_x // stride, last_column),
            ] = True
    index = np.argwhere(chosen)
    table = (
        np.stack([origins[0][index[:, 0]], origins[1][index[:, 1]]], axis=1)
        .astype(np.int64)
        .reshape(-1, 2)
    )
    pen_share = _window_shares(pen, coarse_px, shape_px, low, high)
    return TileTable(table, share[chosen].astype(np.float32), pen_share[chosen].astype(np.float32))


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


def _coarse_inside(low: int, high: int, coarse_px: int, side_px: int) -> tuple[int, int]:
    """First coarse pixel that lies wholly in [low, high), and the first behind them."""
    stop = -(-side_px // coarse_px) if high == side_px else high // coarse_px
    return -(-low // coarse_px), stop


def _window_shares(
    mask: NDArray[np.bool_],
    coarse_px: int,
    shape_px: tuple[int, int],
    low: list[NDArray[np.int64]],
    high: list[NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Exact share of a coarse mask in every window of a grid, by fractional coverage on each axis: float64 (rows, columns)."""
    weight = [
        coverage(axis_low, axis_high, coarse_px, side)
        for axis_low, axis_high, side in zip(low, high, shape_px, strict=True)
    ]
    area = (high[0] - low[0])[:, None] * (high[1] - low[1])[None, :]
    covered: NDArray[np.float64] = weight[0] @ mask.astype(np.float64) @ weight[1].T
    return np.asarray(covered / area, np.float64)


def coverage(
    low: NDArray[np.int64], high: NDArray[np.int64], coarse_px: int, side_px: int
) -> NDArray[np.float64]:
    """Stored pixels of each coarse pixel inside each window: float64 (windows, coarse pixels)."""
    edges = np.minimum(np.arange(-(-side_px // coarse_px) + 1) * coarse_px, side_px)
    inside = np.minimum(high[:, None], edges[None, 1:]) - np.maximum(low[:, None], edges[None, :-1])
    return np.asarray(np.clip(inside, 0, None), np.float64)
