"""From maps to a label image of glands, block by block, with an exact result.

The result depends neither on the block size nor on the number of workers. It is that of
`tiling.raster.split_rule.split_glands` (docs/architecture.md, "The split rule").
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.objects.basin_passes import BasinPasses
from tiling.objects.depth_passes import DepthPasses
from tiling.objects.extents import ObjectExtents, merge_extents
from tiling.parallel import JobSettings
from tiling.raster.split_parameters import SplitParameters
from tiling.stores.arrays import SHARD_PX, create_array, create_group
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import geometry_of
from tiling.stores.layout import GlandStore

_INTERMEDIATE_LABELS = "scratch"


def stitch(
    maps: Path,
    store: Path,
    *,
    slide: str,
    parameters: SplitParameters,
    code_version: int,
    block_px: int = 2048,
    job: JobSettings = JobSettings(),  # noqa: B008  # frozen
) -> int:
    """Split the maps of a slide into glands and write `glands/{slide}.zarr`.

    Parameters
    ----------
    maps : map store (see `tiling.stores.layout.MapStore`)
    store : gland store; appears complete or not at all
    block_px : side of the blocks, stored pixels; the result does not depend on it
    job : threads and progress; the result does not depend on it

    Returns
    -------
    int
        Number of glands.
    """
    geometry = geometry_of(maps)
    recorded = {
        "split": asdict(parameters),
        "version": code_version,
        "geometry": geometry.to_dict(),
    }
    shape = (geometry.height_px, geometry.width_px)
    with write_store(store, recorded, resume=False) as unfinished:
        # The folder is deleted before the store appears.
        intermediate = unfinished.folder / _INTERMEDIATE_LABELS
        rule_passes = BasinPasses if parameters.rule == "prominence" else DepthPasses
        passes = rule_passes(maps, intermediate, geometry, parameters, block_px=block_px, job=job)
        blocks, object_count = passes.find_objects()
        parts = [(block.objects, block.extents) for block in blocks if block is not None]
        extents = merge_extents(parts, object_count)
        glands, gland_of_object = _select_glands(extents, geometry.um2_per_px, parameters)

        def gland_of_label(index: int) -> NDArray[np.int32]:
            """Final number of each label of a block."""
            block = blocks[index]
            if block is None:
                return np.zeros(1, np.int32)
            table = np.zeros(int(block.labels.max(initial=0)) + 1, np.int32)
            table[block.labels] = gland_of_object[block.objects]
            return table

        number_of_labels = gland_of_label
        min_hole_px = parameters.min_hole_um2 / geometry.um2_per_px
        if min_hole_px > 1:
            holes = passes.labels.find_holes(gland_of_label, min_hole_px)
            np.add.at(glands.area_px, holes.gland - 1, holes.area_px)

            def number_of_labels(index: int) -> NDArray[np.int32]:
                return np.concatenate([gland_of_label(index), holes.gland_of_part[index]])

        group = create_group(unfinished.folder)
        labels = create_array(
            group, "labels", shape, GlandStore.ARRAYS["labels"], shard_px=SHARD_PX
        )
        passes.labels.write_numbers(labels, number_of_labels)
        GlandStore.write_table(group, _table(glands, shape))
        attributes = GlandStore(
            slide=slide, split=parameters, version=code_version, geometry=geometry
        )
        attributes.write(group)
        shutil.rmtree(intermediate)
    return len(glands.area_px)


def _select_glands(
    objects: ObjectExtents, um2_per_px: float, parameters: SplitParameters
) -> tuple[ObjectExtents, NDArray[np.int32]]:
    """The objects that are large enough, sorted by first pixel, and the gland of each object.

    The second array is int32 (objects + 1,): the number of the gland, 0 for a dropped object.
    """
    dropped = parameters.is_too_small(objects.area_px, um2_per_px)
    kept = np.flatnonzero((objects.area_px > 0) & ~dropped)
    kept = kept[np.argsort(objects.first_px[kept])]
    gland = np.zeros(len(objects.area_px) + 1, np.int32)
    gland[kept + 1] = np.arange(1, len(kept) + 1, dtype=np.int32)
    return objects.select(kept), gland


def _table(glands: ObjectExtents, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Columns of the object table."""
    top, left, bottom, right = glands.box_px.T
    at_border = (top == 0) | (left == 0) | (bottom == shape[0]) | (right == shape[1])
    return {
        "first_px": glands.first_px,
        "window_px": np.stack([top, left, bottom - top, right - left], axis=1),
        "area_px": glands.area_px,
        "touches_border": at_border.astype(np.uint8),
    }
