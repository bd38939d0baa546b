"""Sums over square cells of a slide: how uncertain its prediction is, and what is annotated."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.raster.cell_sums import cell_sums
from tiling.raster.geometry import Block, Geometry, blocks
from tiling.raster.quantise import PROBABILITY_SCALE
from tiling.stores.arrays import SHARD_PX, open_array, open_store
from tiling.stores.layout import TileStore
from tiling.stores.shards import ShardReader


def _quantised_entropies() -> NDArray[np.int32]:
    """round(255 H(i / 255)) for i in 0..255, where H is the entropy of a probability in bits."""
    p = np.arange(1, PROBABILITY_SCALE) / PROBABILITY_SCALE
    entropy = -PROBABILITY_SCALE * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return np.pad(np.rint(entropy), 1).astype(np.int32)


QUANTISED_ENTROPY = _quantised_entropies()
# A pixel adds its quantised disagreement and its quantised entropy.
MAX_DOUBT_PER_PX = 2 * PROBABILITY_SCALE


class DoubtCells(NamedTuple):
    """Sums over square cells of a slide, each int64 (rows, columns).

    Attributes
    ----------
    doubt : quantised disagreement + quantised entropy of the gland probability, on tissue pixels
    tissue : number of tissue pixels
    labelled : number of pixels of a region or of an outlined gland
    """

    doubt: NDArray[np.int64]
    tissue: NDArray[np.int64]
    labelled: NDArray[np.int64]


def sum_cells(
    maps: Path,
    tiles: Path,
    labels: Path | None,
    geometry: Geometry,
    *,
    cell_px: int,
    block_px: int = SHARD_PX,
) -> DoubtCells:
    """Sums over cells, read block by block: memory grows with the number of cells only.

    Parameters
    ----------
    maps, tiles : stores of the slide
    labels : label store, None without one
    geometry : of the maps
    cell_px : side of a cell, stored pixels
    block_px : side of a block, rounded to whole cells
    """
    shape = (geometry.height_px, geometry.width_px)
    gland, disagreement = (
        ShardReader(open_array(open_store(maps), name)) for name in ("gland", "disagreement")
    )
    tissue = np.asarray(open_array(open_store(tiles), "tissue")[...]) > 0
    stride = TileStore.read(tiles).tissue_stride_px
    annotations: list[zarr.Array[Any]] = []
    if labels is not None:
        annotations = [open_array(open_store(labels), name) for name in ("region", "labels")]
    grid_shape = (-(-shape[0] // cell_px), -(-shape[1] // cell_px))
    sums = DoubtCells(*(np.zeros(grid_shape, np.int64) for _ in DoubtCells._fields))
    for block in blocks(*shape, max(block_px // cell_px, 1) * cell_px):
        cells = _cells_of(block, cell_px)
        if annotations:
            is_labelled = np.any([np.asarray(array[block]) > 0 for array in annotations], axis=0)
            sums.labelled[cells] = cell_sums(is_labelled, cell_px)
        is_tissue = _tissue_of(block, tissue, stride)
        if is_tissue is None:
            continue
        sums.tissue[cells] = cell_sums(is_tissue, cell_px)
        entropy = QUANTISED_ENTROPY[np.asarray(gland[block])]
        # Where no tile was predicted, the probability is 0 and its entropy as well.
        doubt = np.asarray(disagreement[block]).astype(np.int32) + entropy
        sums.doubt[cells] = cell_sums(np.where(is_tissue, doubt, 0), cell_px)
    return sums


def _cells_of(block: Block, cell_px: int) -> Block:
    """Rows and columns of the cells in a block that begins at the corner of a cell."""
    rows, columns = (slice(side.start // cell_px, -(-side.stop // cell_px)) for side in block)
    return rows, columns


def _tissue_of(block: Block, tissue: NDArray[np.bool_], stride_px: int) -> NDArray[np.bool_] | None:
    """Which pixels of a block are tissue; None where none is, as in most blocks of a slide."""
    rows, columns = (
        np.minimum(np.arange(side.start, side.stop) // stride_px, count - 1)
        for side, count in zip(block, tissue.shape, strict=True)
    )
    if not tissue[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any():
        return None
    return np.asarray(tissue[rows[:, None], columns])
