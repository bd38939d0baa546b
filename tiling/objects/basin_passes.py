"""The rule prominence over the blocks of a slide: depths, basins, and the glands of the seeds.

In each block, basins that cannot be seeds whatever lies beyond the block are joined with others at
once. What stays, and the edges between them, is small enough for memory: the basins of the slide
are joined together.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.objects.block_cache import ArrayFiles, BlockBorders
from tiling.objects.block_labels import BlockLabels, BlockObjects
from tiling.objects.components import (
    BlockComponents,
    BlockGrid,
    join_components,
    label_runs,
)
from tiling.objects.extents import ObjectExtents, object_extents
from tiling.parallel import JobSettings, for_each
from tiling.raster.basin_edges import Edges, edges_between, forest_edges
from tiling.raster.basins import (
    basin_heights,
    find_basins,
    merge_basins,
    open_basins,
)
from tiling.raster.geometry import Geometry
from tiling.raster.quantise import quantised_threshold
from tiling.raster.reduced_depth import (
    enlarged,
    reduced_depth,
    reduced_maximum,
    reduced_px_side,
)
from tiling.raster.runs import find_runs
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import distance_levels, gland_mask
from tiling.stores.arrays import open_array, open_store
from tiling.stores.shards import ShardReader

# A depth is below 1024; the next bit says whether a reduced pixel has the probability of a seed.
_CONFIDENT = 1024


class _BlockBasins(NamedTuple):
    """Basins 1..n that stayed in a block, heights int64 (n,), and the edges between them."""

    heights: NDArray[np.int64]
    edges: Edges


class _BlockParts(NamedTuple):
    """Connected parts of the glands in a block, and the seed of each, int32 (n,)."""

    components: BlockComponents
    seeds: NDArray[np.int32]
    extents: ObjectExtents


class BasinPasses:
    """The passes over the blocks of one slide.

    Parameters
    ----------
    maps : map store
    folder : is created for intermediate arrays
    geometry : of the maps
    block_px : side of a block, stored pixels; blocks are made of whole reduced pixels
    """

    def __init__(
        self,
        maps: Path,
        folder: Path,
        geometry: Geometry,
        parameters: SplitParameters,
        *,
        block_px: int,
        job: JobSettings,
    ) -> None:
        self._parameters, self._job = parameters, job
        self._side = side = reduced_px_side(geometry.mpp)
        reduced_block = max(block_px // side, 1)
        self.grid = BlockGrid((geometry.height_px, geometry.width_px), reduced_block * side)
        reduced_shape = -(-geometry.height_px // side), -(-geometry.width_px // side)
        self._reduced = BlockGrid(reduced_shape, reduced_block)
        folder.mkdir()
        self.labels = BlockLabels(folder / "labels", self.grid, job)
        self._depth_files = ArrayFiles(folder / "depth")
        self._basin_files = ArrayFiles(folder / "basins")
        self._depth_borders, self._basin_borders = (
            BlockBorders(self._reduced, 1) for _ in range(2)
        )
        store = open_store(maps)
        self._gland, self._sdf, self._boundary = (
            ShardReader(open_array(store, name)) for name in ("gland", "sdf", "boundary")
        )

    def find_objects(self) -> tuple[list[BlockObjects | None], int]:
        """Label the objects of all blocks.

        Returns
        -------
        list
            For each block; None without mask.
        int
            Number of objects.
        """
        indices, job = range(len(self.grid)), self._job
        for_each(self._store_depth, indices, job=job, nouns="depths")
        basins = for_each(self._find_basins, indices, job=job, nouns="basins")
        seed_of_basin = self._join_basins(basins)
        parts = for_each(
            lambda index: self._label_parts(index, seed_of_basin[index]),
            indices,
            job=job,
            nouns="glands",
        )
        joined = join_components(
            self.grid,
            [None if part is None else part.components for part in parts],
            values=[None if part is None else part.seeds for part in parts],
        )
        blocks: list[BlockObjects | None] = []
        for part, numbers in zip(parts, joined.numbers, strict=True):
            objects = numbers[1:].astype(np.int64)
            labels = np.arange(1, len(numbers))
            blocks.append(None if part is None else BlockObjects(labels, objects, part.extents))
        return blocks, len(joined.first_px)

    def _store_depth(self, index: int) -> None:
        """Store the reduced depth of a block."""
        block, parameters = self.grid.blocks[index], self._parameters
        gland = self._gland[block]
        mask = gland_mask(gland, parameters)
        if not mask.any():
            return
        sdf = self._sdf[block] if parameters.use_sdf else None
        boundary = self._boundary[block] if parameters.use_boundary else None
        level = distance_levels(sdf, boundary, parameters)
        depth = reduced_depth(mask, level, self._side)
        seed_level = quantised_threshold(parameters.seed_threshold)
        if seed_level > quantised_threshold(parameters.threshold):
            is_confident = reduced_maximum(gland, self._side) >= seed_level
            depth |= np.where(is_confident, np.uint16(_CONFIDENT), np.uint16(0))
        else:
            depth |= np.uint16(_CONFIDENT)
        self._depth_files.write(index, depth)
        self._depth_borders.store(index, depth)

    def _find_basins(self, index: int) -> _BlockBasins | None:
        """Find the basins of a block, and join those that are no seeds."""
        if index not in self._depth_files:
            return None
        stored = self._depth_files.read(index).astype(np.uint16)
        unchanged = np.arange(2 * _CONFIDENT, dtype=np.uint16)
        lookups = dict.fromkeys(self._depth_borders.stored_around(index), unchanged)
        depth = self._depth_borders.with_halo(index, stored, lookups)[1:-1, 1:-1]
        depth &= np.uint16(_CONFIDENT - 1)
        rows, columns = self._reduced.blocks[index]
        place, width = (rows.start, columns.start), self._reduced.shape[1]
        basins = find_basins(depth, place=place, width=width)
        heights = basin_heights(
            basins, depth[1:-1, 1:-1], stored >= _CONFIDENT, place=place, width=width
        )
        basin_of, between = merge_basins(
            heights,
            basins.edges,
            min_prominence=self._parameters.min_prominence(),
            is_open=open_basins(basins.numbers, depth),
        )
        stays = basin_of == np.arange(len(basin_of))
        number = (np.cumsum(stays) - 1).astype(np.int32)[basin_of]  # 0 stays 0
        numbers = number[basins.numbers]
        self._basin_files.write(index, numbers)
        self._basin_borders.store(index, numbers)
        stays[0] = False
        edges = forest_edges(between)
        return _BlockBasins(heights[stays], Edges(number[edges.a], number[edges.b], edges.key))

    def _join_basins(self, blocks: list[_BlockBasins | None]) -> list[NDArray[np.int32]]:
        """The seed of each basin of each block, int32 (n + 1,); 0: none."""
        counts = [0 if block is None else len(block.heights) for block in blocks]
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        none = np.zeros(0, np.int64)
        edges = [Edges(none.astype(np.int32), none.astype(np.int32), none)]
        heights = [np.zeros(1, np.int64)]
        for index, block in enumerate(blocks):
            if block is not None:
                heights.append(block.heights)
                own = block.edges
                edges.append(Edges(own.a + start[index], own.b + start[index], own.key))
                edges += self._edges_to_neighbours(index, start)
        all_heights = np.concatenate(heights)
        basin_of, _ = merge_basins(
            all_heights,
            Edges(*(np.concatenate(columns) for columns in zip(*edges, strict=True))),
            min_prominence=self._parameters.min_prominence(),
        )
        seed = np.where(all_heights[basin_of] > 0, basin_of, 0).astype(np.int32)
        zero = np.zeros(1, np.int32)
        return [
            np.concatenate([zero, seed[first + 1 : first + 1 + count]])
            for first, count in zip(start[:-1].tolist(), counts, strict=True)
        ]

    def _edges_to_neighbours(self, index: int, start: NDArray[np.int32]) -> list[Edges]:
        """Edges across the sides of a block to the blocks on the right and below."""
        rows, columns = self._reduced.blocks[index]
        below, right = index + self._reduced.columns, index + 1
        has_right = index % self._reduced.columns < self._reduced.columns - 1
        has_below = below < len(self._reduced)
        junctions = []
        if has_right:
            place = rows.start, columns.stop - 1
            junctions.append((place, [[(index, 0, 1), (right, 0, -1)]]))
        if has_below:
            place = rows.stop - 1, columns.start
            junctions.append((place, [[(index, 1, 0)], [(below, -1, 0)]]))
        if has_right and has_below:
            place = rows.stop - 1, columns.stop - 1
            upper, lower = [(index, 1, 1), (right, 1, -1)], [(below, -1, 1), (below + 1, -1, -1)]
            junctions.append((place, [upper, lower]))
        edges_of_junctions = []
        for place, strips in junctions:
            basins, depths = self._junction(strips, start)
            edges = edges_between(basins, depths, place, self._reduced.shape[1])
            edges_of_junctions.append(forest_edges(edges))
        return edges_of_junctions

    def _junction(
        self, strips: list[list[tuple[int, int, int]]], start: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Basins, and depths, of strips of pixels side by side.

        Parameters
        ----------
        strips : rows of strips, each given by its block and the direction of its neighbour
        start : number of basins in the blocks before each block
        """
        basins, depths = [], []
        for row in strips:
            basins_of_row, depths_of_row = [], []
            for index, dy, dx in row:
                number = self._basin_borders.strip(index, dy, dx)
                depth = self._depth_borders.strip(index, dy, dx)
                if number is None or depth is None:
                    block = self._reduced.blocks[index]
                    height, width = (side.stop - side.start for side in block)
                    shape = (1 if dy else height, 1 if dx else width)
                    number = depth = np.zeros(shape, np.int16)
                basins_of_row.append(np.where(number > 0, number + start[index], 0))
                depths_of_row.append(depth % _CONFIDENT)
            basins.append(np.concatenate(basins_of_row, axis=1))
            depths.append(np.concatenate(depths_of_row, axis=1))
        return np.concatenate(basins).astype(np.int32), np.concatenate(depths).astype(np.uint16)

    def _label_parts(self, index: int, seed_of_basin: NDArray[np.int32]) -> _BlockParts | None:
        """Label the connected parts of the glands in a block."""
        if index not in self._basin_files:
            return None
        block, width_px = self.grid.blocks[index], self.grid.shape[1]
        mask = gland_mask(self._gland[block], self._parameters)
        seeds, seed = np.unique(seed_of_basin, return_inverse=True)
        small = np.uint16 if len(seeds) <= np.iinfo(np.uint16).max else np.int32
        runs = find_runs(
            enlarged(seed.astype(small)[self._basin_files.read(index)], self._side, mask)
        )
        part, components = label_runs(runs, runs.value > 0, block, width_px, one_value=True)
        if components is None:
            return None
        count = len(components.first_px)
        seed_of_part = np.zeros(count + 1, np.int32)
        seed_of_part[part] = seeds[runs.value]
        runs = runs._replace(value=part)
        self.labels.write(index, runs)
        extents = object_extents(runs, count, block, width_px)
        return _BlockParts(components, seed_of_part[1:], extents)
