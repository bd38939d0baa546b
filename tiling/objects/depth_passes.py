"""The rule depth over the blocks of a slide: seeds, growth, and the rest that growth leaves."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.objects.block_cache import BlockBorders
from tiling.objects.block_labels import BlockLabels, BlockObjects
from tiling.objects.components import (
    BlockComponents,
    BlockGrid,
    JoinedComponents,
    join_components,
    label_runs,
)
from tiling.objects.extents import ObjectExtents, object_extents
from tiling.parallel import JobSettings, for_each
from tiling.raster.geometry import Geometry
from tiling.raster.growth import FREE, assign_components, count_contacts, grow
from tiling.raster.runs import Runs, find_runs
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import gland_mask, seed_mask
from tiling.stores.arrays import open_array, open_store
from tiling.stores.shards import ShardReader


class GrownBlock(NamedTuple):
    """One block after growth.

    Its labels are 1..n for the objects of the block and its neighbours, and above them the
    components of the rest: the pixels of the mask that growth did not reach.

    Attributes
    ----------
    labels : int64 (a + r,), those that occur in the block, ascending; the last r are of the rest
    objects : int64 (a,), numbers of the objects that occur
    rest : components of the rest; None without rest
    contacts : int64 (n, 3), component of the rest, object that it touches, number of pixel pairs
    extents : of `labels`
    """

    labels: NDArray[np.int64]
    objects: NDArray[np.int64]
    rest: BlockComponents | None
    contacts: NDArray[np.int64]
    extents: ObjectExtents


class DepthPasses:
    """The passes over the blocks of one slide.

    Parameters
    ----------
    maps : map store
    folder : is created for intermediate labels
    geometry : of the maps
    block_px : side of a block, stored pixels; blocks are not smaller than the reach of growth
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
        shape = (geometry.height_px, geometry.width_px)
        self._parameters, self._job = parameters, job
        self._steps = parameters.growth_steps(geometry.mpp)
        # Each step carries a label one pixel far. With a halo of R + 1 pixels, the block and one
        # pixel around it have their final labels.
        self.grid = BlockGrid(shape, max(block_px, self._steps + 1))
        self._borders = BlockBorders(self.grid, self._steps + 1)
        self.labels = BlockLabels(folder, self.grid, job)
        store = open_store(maps)
        self._gland, self._sdf, self._boundary = (
            ShardReader(open_array(store, name)) for name in ("gland", "sdf", "boundary")
        )

    def find_objects(self) -> tuple[list[BlockObjects | None], int]:
        """Label the objects of all blocks.

        Seeds grow inside the mask. The components of the rest join an object that grew from a seed,
        or become objects of their own.

        Returns
        -------
        list
            For each block; None without mask.
        int
            Number of objects.
        """
        indices = range(len(self.grid))
        components = for_each(self._label_seeds, indices, job=self._job, nouns="seeds")
        seeds = join_components(self.grid, components)
        grown = for_each(
            lambda index: self._grow_block(index, seeds.numbers),
            indices,
            job=self._job,
            nouns="growth",
        )
        return _with_rest(self.grid, grown, len(seeds.first_px))

    def _label_seeds(self, index: int) -> BlockComponents | None:
        """Label the seeds of a block, and store its growth field (see `tiling.raster.growth`)."""
        block, parameters = self.grid.blocks[index], self._parameters
        mask = gland_mask(self._gland[block], parameters)
        if not mask.any():
            return None
        sdf = self._sdf[block] if parameters.use_sdf else None
        boundary = self._boundary[block] if parameters.use_boundary else None
        is_seed = seed_mask(mask, sdf, boundary, parameters)
        runs = find_runs(mask.view(np.uint8) + is_seed)  # 0 background, 1 mask, 2 seed
        component, components = label_runs(runs, runs.value == 2, block, self.grid.shape[1])
        field = runs._replace(value=np.where(runs.value == 1, np.int32(FREE), component))
        self._borders.store(index, field.to_array(mask.shape))
        self.labels.files.write(index, field)
        return components

    def _grow_block(self, index: int, numbers: list[NDArray[np.int32]]) -> GrownBlock | None:
        """Grow the seeds into a block, label the rest, and count its contacts.

        Parameters
        ----------
        numbers : for each block, the number of each of its seed components
        """
        if index not in self.labels.files:
            return None
        objects, field = self._growth_field(index, numbers)
        grow(field, steps=self._steps)
        margin = self._steps + 2
        block, width_px = self.grid.blocks[index], self.grid.shape[1]
        runs = find_runs(field[margin:-margin, margin:-margin])
        is_rest = runs.value == FREE
        component, rest = label_runs(runs, is_rest, block, width_px)
        count, contacts = len(objects), np.zeros((0, 3), np.int64)
        if rest is not None:
            with_ring = field[margin - 1 : 1 - margin, margin - 1 : 1 - margin]
            contacts = _contacts(runs._replace(value=component).select(is_rest), with_ring)
            contacts[:, 1] = objects[contacts[:, 1] - 1]
            runs = runs._replace(value=np.where(is_rest, component + np.int32(count), runs.value))
            count += len(rest.first_px)
        self.labels.write(index, runs)
        extents = object_extents(runs, count, block, width_px)
        # Most objects of the neighbours do not reach into this block.
        labels = np.flatnonzero(extents.area_px) + 1
        own_objects = objects[labels[labels <= len(objects)] - 1]
        return GrownBlock(labels, own_objects, rest, contacts, extents.select(labels - 1))

    def _growth_field(
        self, index: int, numbers: list[NDArray[np.int32]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The objects around a block, and its growth field with a halo.

        The labels of the field are positions (from 1) in the list of objects: they are small, and
        have the order of the objects' numbers.
        """
        around = self._borders.stored_around(index)
        objects = np.unique(np.concatenate([numbers[other][1:] for other in around]))
        lookups = {}
        for other in around:
            labels = np.searchsorted(objects, numbers[other][1:]) + 1
            # FREE is -1, so it selects the last entry.
            lookups[other] = np.concatenate([[0], labels, [FREE]]).astype(np.int32)
        block = self.labels.files.read_block(index, lookups[index])
        return objects.astype(np.int64), self._borders.with_halo(index, block, lookups)


def _contacts(rest: Runs, field: NDArray[np.int32]) -> NDArray[np.int64]:
    """Contacts of components with labels, see `count_contacts`; the values are the components."""
    component = np.repeat(rest.value.astype(np.int64), rest.length)
    return count_contacts(component, *rest.pixels(), field)


def _with_rest(
    grid: BlockGrid, grown: list[GrownBlock | None], seed_count: int
) -> tuple[list[BlockObjects | None], int]:
    """The objects of all blocks, with the rest, and their number."""
    rest = join_components(grid, [None if block is None else block.rest for block in grown])
    object_of_component = _objects_of_rest(grown, rest, seed_count)
    blocks: list[BlockObjects | None] = []
    for block, numbers in zip(grown, rest.numbers, strict=True):
        if block is None:
            blocks.append(None)
            continue
        of_rest = object_of_component[numbers[1:]]
        objects = np.concatenate([block.objects, of_rest]).astype(np.int64)
        blocks.append(BlockObjects(block.labels, objects, block.extents))
    return blocks, max(seed_count, int(object_of_component.max(initial=0)))


def _objects_of_rest(
    grown: list[GrownBlock | None], rest: JoinedComponents, seed_count: int
) -> NDArray[np.int32]:
    """Object of each component of the rest, int32 (components + 1,), see `assign_components`."""
    contacts = [np.zeros((0, 3), np.int64)]
    for block, numbers in zip(grown, rest.numbers, strict=True):
        if block is not None:
            component = numbers[block.contacts[:, 0]]
            contacts.append(np.column_stack([component, block.contacts[:, 1:]]))
    return assign_components(np.concatenate(contacts), len(rest.first_px), seed_count)
