"""One block of the maps: the tiles that overlap it, and their weighted means.

Python's threads exchange one lock after each numpy operation, and other threads wait while one runs
Python code. So what depends only on the places of the tiles is computed once for all blocks with
the same places.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.blending import axis_weights, tile_weights
from tiling.raster.geometry import Block, Window
from tiling.raster.quantise import quantise_scaled_means

# (y, x) of the first pixel of each tile, from the first pixel of the block.
Places = tuple[tuple[int, int], ...]
# Layouts that are kept. A grid whose stride does not divide a shard has some hundred.
_LAYOUTS = 512
# Pixels whose sums become quantised means at a time: they stay in the processor's cache.
_BAND_PX = 1 << 17


class TilePart(NamedTuple):
    """The part of a tile that lies in a block.

    Attributes
    ----------
    weights : float32 (h, w), of these pixels of the tile
    in_block : rows and columns of the block
    """

    weights: NDArray[np.float32]
    in_block: Block


class BlockLayout(NamedTuple):
    """What the places of the tiles of a block determine.

    Attributes
    ----------
    parts : one for each tile
    totals : sum of the weights of all tiles, as outer products (down, across) that add up to it
    """

    parts: tuple[TilePart, ...]
    totals: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]


class WorkBuffers:
    """Arrays that one thread uses for block after block: new memory would cost as much as the sums.

    Attributes
    ----------
    weighted : float32 (T, T), predictions times weights
    sums, scale : float32 (n,), enough for any block
    """

    def __init__(self, tile_px: int, largest_block_px: int) -> None:
        self.weighted = np.empty((tile_px, tile_px), np.float32)
        self.sums, self.scale = (np.empty(largest_block_px, np.float32) for _ in range(2))


class BlendBlock:
    """A rectangle of the slide and the tiles that overlap it; they are summed when none is missing.

    Only then are there sums, of one map at a time: they stay in the processor's cache.
    """

    def __init__(self, window: Window, tile_px: int) -> None:
        self.window = window
        self._tile_px = tile_px
        self._maps: list[NDArray[np.float32]] = []
        self._places: list[tuple[int, int]] = []

    def add(self, maps: NDArray[np.float32], y: int, x: int, *, copy: bool) -> None:
        """Take the tile whose first pixel is (y, x); tiles are summed in the order they are added.

        Parameters
        ----------
        maps : float32 (maps, T, T)
        copy : keep only the part that lies in the block, not the whole tile
        """
        place = y - self.window.y, x - self.window.x
        rows, columns = _rows_and_columns_in_tile(
            place, self._tile_px, (self.window.height, self.window.width)
        )
        part = maps[:, rows, columns]
        self._maps.append(part.copy() if copy else part)
        self._places.append(place)

    def write_means(
        self,
        out: NDArray[np.uint8],
        buffers: WorkBuffers,
        *,
        mask: NDArray[np.bool_] | None,
        sdf_index: int | None,
    ) -> None:
        """Write the weighted means, quantised.

        Parameters
        ----------
        out : uint8 (maps, h, w); keeps its values where there is no tile, or outside the mask
        mask : bool (h, w); None: everywhere
        sdf_index : which of the maps is the sdf
        """
        height, width = out.shape[1:]
        sums, scale = (
            buffer[: height * width].reshape(height, width)
            for buffer in (buffers.sums, buffers.scale)
        )
        layout = _block_layout((height, width), self._tile_px, tuple(self._places))
        factors, written = _factors(layout, scale, mask)
        if written is not None and not written.any():
            return
        bands = range(0, height, max(_BAND_PX // width, 1))
        for index, quantised in enumerate(out):
            sums.fill(0)
            for maps, (weights, in_block) in zip(self._maps, layout.parts, strict=True):
                part_height, part_width = weights.shape
                weighted = buffers.weighted[:part_height, :part_width]
                np.multiply(maps[index], weights, out=weighted)
                target = sums[in_block]
                np.add(target, weighted, out=target)
            for start in bands:
                rows = slice(start, start + bands.step)
                band = sums[rows]
                for factor in factors:
                    np.multiply(band, factor[rows] if len(factor) > 1 else factor, out=band)
                quantise_scaled_means(
                    band,
                    quantised[rows],
                    is_sdf=index == sdf_index,
                    where=None if written is None else written[rows],
                )


def _factors(
    layout: BlockLayout, scale: NDArray[np.float32], mask: NDArray[np.bool_] | None
) -> tuple[list[NDArray[np.float32]], NDArray[np.bool_] | None]:
    """Factors that turn sums into 255 times means, and the pixels that are written.

    The factors are applied one after the other. No pixels (None) stands for all of them. If all
    tiles of a grid are present, the sum of their weights is an outer product: a column and a row
    are less to read than a whole array.

    Parameters
    ----------
    scale : float32 (h, w), overwritten
    """
    if len(layout.totals) == 1 and all(axis.all() for axis in layout.totals[0]):
        down, across = layout.totals[0]
        return [np.float32(255) / down[:, None], np.float32(1) / across[None, :]], mask
    scale.fill(0)
    for down, across in layout.totals:
        np.add(scale, np.einsum("y,x->yx", down, across), out=scale)
    written = scale > 0 if mask is None else (scale > 0) & mask
    np.copyto(scale, np.inf, where=~written)
    np.divide(255, scale, out=scale)
    return [scale], written


@lru_cache(_LAYOUTS)
def _block_layout(shape: tuple[int, int], tile_px: int, places: Places) -> BlockLayout:
    weights = _shared_tile_weights(tile_px)
    parts = []
    for y, x in places:
        rows, columns = _rows_and_columns_in_tile((y, x), tile_px, shape)
        in_block = (
            slice(rows.start + y, rows.stop + y),
            slice(columns.start + x, columns.stop + x),
        )
        parts.append(TilePart(weights[rows, columns], in_block))
    return BlockLayout(tuple(parts), _weight_totals(shape, tile_px, places))


@lru_cache(1)
def _shared_tile_weights(tile_px: int) -> NDArray[np.float32]:
    return tile_weights(tile_px)


def _rows_and_columns_in_tile(
    place: tuple[int, int], tile_px: int, shape: tuple[int, int]
) -> tuple[slice, slice]:
    """The part of a tile that lies in a block, in pixels of the tile."""
    (y, x), (height, width) = place, shape
    return (
        slice(max(-y, 0), min(tile_px, height - y)),
        slice(max(-x, 0), min(tile_px, width - x)),
    )


def _weight_totals(
    shape: tuple[int, int], tile_px: int, places: Places
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
    """Sum of the weights of all tiles, as outer products (down, across) that add up to it.

    The weights of a tile are an outer product. So are those of several rows of tiles together,
    if they have the same columns. For a complete grid there is only one product.
    """
    columns_of_row: dict[int, dict[int, None]] = {}  # in the order of the tiles
    for y, x in places:
        columns_of_row.setdefault(y, {})[x] = None
    rows_by_columns: dict[tuple[int, ...], list[int]] = {}
    for y, columns in columns_of_row.items():
        rows_by_columns.setdefault(tuple(sorted(columns)), []).append(y)
    totals = []
    for rows in rows_by_columns.values():
        down, across = (np.zeros(side, np.float32) for side in shape)
        for y in rows:
            _add_axis_weights(down, y, tile_px)
        for x in columns_of_row[rows[0]]:
            _add_axis_weights(across, x, tile_px)
        totals.append((down, across))
    return tuple(totals)


def _add_axis_weights(total: NDArray[np.float32], start: int, tile_px: int) -> None:
    """Add the weights of a tile along one axis of a block."""
    stop = min(start + tile_px, len(total))
    first = max(start, 0)
    total[first:stop] += axis_weights(tile_px)[first - start : stop - start]
