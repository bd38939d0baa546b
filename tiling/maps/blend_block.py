"""One block of the maps: the tiles that overlap it, and their weighted means."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.blending import axis_weights, tile_weights
from tiling.raster.geometry import Block, Window
from tiling.raster.quantise import quantise_scaled_means


class TileOverlap(NamedTuple):
    """The part of a tile that lies in a block.

    Attributes
    ----------
    maps : float32 (maps, h, w), predictions of that part
    y, x : first pixel of the tile on the slide
    in_block, in_tile : rows and columns of that part
    """

    maps: NDArray[np.float32]
    y: int
    x: int
    in_block: Block
    in_tile: Block


class WorkBuffers:
    """Arrays that one thread uses for block after block: new memory would cost as much as the sums.

    Attributes
    ----------
    weights, weighted : float32 (T, T), weights of a tile, and predictions times weights
    sums, scale : float32 (n,), enough for any block
    """

    def __init__(self, tile_px: int, largest_block_px: int) -> None:
        self.weights = tile_weights(tile_px)
        self.weighted = np.empty_like(self.weights)
        self.sums, self.scale = (np.empty(largest_block_px, np.float32) for _ in range(2))


class BlendBlock:
    """A rectangle of the slide and the tiles that overlap it; they are summed when none is missing.

    Only then are there sums, of one map at a time: they stay in the processor's cache.
    """

    def __init__(self, window: Window, tile_px: int) -> None:
        self.window = window
        self._tile_px = tile_px
        self._overlaps: list[TileOverlap] = []

    def add(self, maps: NDArray[np.float32], y: int, x: int, *, copy: bool) -> None:
        """Take the tile whose first pixel is (y, x); tiles are summed in the order they are added.

        Parameters
        ----------
        maps : float32 (maps, T, T)
        copy : keep only the part that lies in the block, not the whole tile
        """
        block = self.window
        top, left = max(y, block.y), max(x, block.x)
        bottom, right = min(y + self._tile_px, block.bottom), min(x + self._tile_px, block.right)
        in_tile = slice(top - y, bottom - y), slice(left - x, right - x)
        in_block = (
            slice(top - block.y, bottom - block.y),
            slice(left - block.x, right - block.x),
        )
        part = maps[:, *in_tile]
        self._overlaps.append(TileOverlap(part.copy() if copy else part, y, x, in_block, in_tile))

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
        factors, written = self._factors(scale, mask)
        if written is not None and not written.any():
            return
        for index, quantised in enumerate(out):
            sums.fill(0)
            for overlap in self._overlaps:
                values = overlap.maps[index]
                weighted = buffers.weighted[: values.shape[0], : values.shape[1]]
                np.multiply(values, buffers.weights[overlap.in_tile], out=weighted)
                target = sums[overlap.in_block]
                np.add(target, weighted, out=target)
            for factor in factors:
                np.multiply(sums, factor, out=sums)
            quantise_scaled_means(sums, quantised, is_sdf=index == sdf_index, where=written)

    def _factors(
        self, scale: NDArray[np.float32], mask: NDArray[np.bool_] | None
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.bool_] | None]:
        """Factors that turn sums into 255 times means, and the pixels that are written.

        The factors are applied one after the other. No pixels (None) stands for all of them. If all
        tiles of a grid are present, the sum of their weights is an outer product: a column and a
        row are less to read than a whole array.

        Parameters
        ----------
        scale : float32 (h, w), overwritten
        """
        totals = self._weight_totals(scale.shape)
        if len(totals) == 1 and all(axis.all() for axis in totals[0]):
            down, across = totals[0]
            return [np.float32(255) / down[:, None], np.float32(1) / across[None, :]], mask
        scale.fill(0)
        for down, across in totals:
            np.add(scale, np.einsum("y,x->yx", down, across), out=scale)
        written = scale > 0 if mask is None else (scale > 0) & mask
        np.copyto(scale, np.inf, where=~written)
        np.divide(255, scale, out=scale)
        return [scale], written

    def _weight_totals(
        self, shape: tuple[int, ...]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Sum of the weights of all tiles, as outer products (down, across) that add up to it.

        The weights of a tile are an outer product. So are those of several rows of tiles together,
        if they have the same columns. For a complete grid there is only one product.
        """
        weights = axis_weights(self._tile_px)
        rows: dict[int, dict[int, TileOverlap]] = {}
        for overlap in self._overlaps:
            rows.setdefault(overlap.y, {})[overlap.x] = overlap
        rows_by_columns: dict[tuple[int, ...], list[dict[int, TileOverlap]]] = {}
        for row in rows.values():
            rows_by_columns.setdefault(tuple(sorted(row)), []).append(row)
        totals = []
        for same_columns in rows_by_columns.values():
            down, across = (np.zeros(side, np.float32) for side in shape)
            for row in same_columns:
                overlap = next(iter(row.values()))
                down[overlap.in_block[0]] += weights[overlap.in_tile[0]]
            for overlap in same_columns[0].values():
                across[overlap.in_block[1]] += weights[overlap.in_tile[1]]
            totals.append((down, across))
        return totals
