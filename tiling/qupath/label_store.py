"""Writes a label store: instance labels, weights and regions of a slide, block by block."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.messages import counted
from tiling.objects.extents import ObjectExtents, merge_extents, object_extents
from tiling.outlines.outline_raster import NumberedBlocks
from tiling.qupath.class_names import IGNORE, Reading
from tiling.raster.geometry import Block, Geometry, Window, blocks
from tiling.raster.runs import find_runs
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import SHARD_PX, create_array, create_group
from tiling.stores.atomic_store import write_store
from tiling.stores.layout import LabelCounts, LabelStore, StoredRegion

log = logging.getLogger(__name__)
WITHOUT_PIXEL = (
    "without a pixel (off the slide, too small, or covered by smaller ones) are left out"
)


class LabelSource(NamedTuple):
    """What a label store is filled from.

    Attributes
    ----------
    numbers : by how the outlines are read, numbers of the stored grid; `Reading.GLAND`, `REGION`
        and `IGNORED` are used
    gland_count : largest gland number
    region_names : name of region k + 1
    messages : what was skipped, repaired or clipped
    outlines : of the glands, shapely polygons, (x, y) in level-0 pixels of the viewer; empty for a
        mask image
    """

    numbers: Mapping[Reading, NumberedBlocks]
    gland_count: int
    region_names: list[str]
    messages: list[str]
    outlines: Sequence[Any] = ()


class _BlockNumbers(NamedTuple):
    """The numbers of one block, int32 (h, w) each, and where they count (bool)."""

    glands: NDArray[np.int32]
    regions: NDArray[np.int32]
    annotated: NDArray[np.bool_]


class _Tally:
    """Where each of the numbers 1..count occurs, collected block by block."""

    def __init__(self, count: int, width_px: int) -> None:
        self._count, self._width_px = count, width_px
        self._parts: list[tuple[NDArray[np.int64], ObjectExtents]] = []

    def add(self, numbers: NDArray[np.int32], block: Block) -> None:
        """Add the numbers of a block."""
        if not numbers.any():
            return
        runs = find_runs(numbers)  # far fewer than pixels
        runs = runs.select(runs.value > 0)
        present, index = np.unique(runs.value, return_inverse=True)
        local = runs._replace(value=index + 1)
        part = object_extents(local, len(present), block, self._width_px)
        self._parts.append((present.astype(np.int64), part))

    def total(self) -> ObjectExtents:
        """Area and bounding box of each number in the whole array."""
        return merge_extents(self._parts, self._count)


class _Tallies(NamedTuple):
    """Tallies of the glands, of their annotated parts, and of the regions."""

    glands: _Tally
    annotated_glands: _Tally
    regions: _Tally

    def add(self, block: Block, numbers: _BlockNumbers) -> None:
        """Add the numbers of a block."""
        self.glands.add(numbers.glands, block)
        self.regions.add(numbers.regions, block)
        self.annotated_glands.add(np.where(numbers.annotated, numbers.glands, 0), block)


def write_labels(
    store: Path,
    source: LabelSource,
    geometry: Geometry,
    *,
    slide: str,
    parameters: dict[str, str | int],
    code_version: int,
) -> None:
    """Write a label store; it appears when it is complete.

    Parameters
    ----------
    store : `labels/{slide}.zarr`
    source : numbers of the outlines
    geometry : frame of the store
    slide, parameters, code_version : recorded in the store

    Raises
    ------
    AnnotationError
        No pixel is annotated.
    """
    grid = blocks(geometry.height_px, geometry.width_px, SHARD_PX)
    tallies = _Tallies(
        glands=_Tally(source.gland_count, geometry.width_px),
        annotated_glands=_Tally(source.gland_count, geometry.width_px),
        regions=_Tally(len(source.region_names), geometry.width_px),
    )
    identity = {"slide": slide, "parameters": parameters, "version": code_version}
    unfinished = write_store(store, {**identity, "geometry": geometry.to_dict()}, resume=False)
    with unfinished as partial:
        group = create_group(partial.folder)
        arrays = _create_arrays(group, geometry)
        annotated_px = gland_px = 0
        for block in grid:
            numbers = _block_numbers(source, block)
            _write_block(arrays, block, numbers)
            tallies.add(block, numbers)
            annotated_px += int(numbers.annotated.sum())
            gland_px += int((numbers.annotated & (numbers.glands > 0)).sum())
        glands, regions = tallies.glands.total(), tallies.regions.total()
        messages = list(source.messages)
        messages += _close_gaps(arrays["labels"], glands, "glands", grid)
        messages += _close_gaps(arrays["region"], regions, "regions", grid)
        annotated_glands = tallies.annotated_glands.total()
        messages += _crossing_message(glands, annotated_glands)
        if not annotated_px:
            raise AnnotationError(
                f"{parameters['annotation']}: no annotated pixel is left "
                "(regions off the slide, or all of it ignored); move a region onto the slide, or "
                f"make `{IGNORE}` smaller"
            )
        for message in messages:
            log.info("%s", message)
        gland_count = int((annotated_glands.area_px > 0).sum())
        LabelStore(
            slide=slide,
            parameters=parameters,
            version=code_version,
            geometry=geometry,
            regions=_stored_regions(source.region_names, regions),
            messages=messages,
            counts=LabelCounts(
                annotated_px=annotated_px,
                gland_px=gland_px,
                glands=gland_count,
                glands_outside=int((glands.area_px > 0).sum()) - gland_count,
            ),
        ).write(group)


def _create_arrays(group: zarr.Group, geometry: Geometry) -> dict[str, zarr.Array[Any]]:
    """The arrays of a label store by name."""
    shape = (geometry.height_px, geometry.width_px)
    return {
        name: create_array(group, name, shape, dtype) for name, dtype in LabelStore.ARRAYS.items()
    }


def _block_numbers(source: LabelSource, block: Block) -> _BlockNumbers:
    """What each pixel of a block means."""
    glands = source.numbers[Reading.GLAND][block]
    regions = source.numbers[Reading.REGION][block]
    is_ignored = source.numbers[Reading.IGNORED][block] > 0
    return _BlockNumbers(glands, regions, (regions > 0) & ~is_ignored)


def _write_block(arrays: dict[str, zarr.Array[Any]], block: Block, numbers: _BlockNumbers) -> None:
    values = {"labels": numbers.glands, "weight": numbers.annotated, "region": numbers.regions}
    for name, array in arrays.items():
        # Zeros are the fill value: a chunk of zeros is not stored.
        if values[name].any():
            array[block] = values[name].astype(array.dtype)


def _close_gaps(
    array: zarr.Array[Any], total: ObjectExtents, things: str, grid: list[Block]
) -> list[str]:
    """Renumber the numbers that have a pixel to 1..n, in place; a message if some have none."""
    is_present = total.area_px > 0
    if is_present.all():
        return []
    new_numbers = np.zeros(len(is_present) + 1, array.dtype)
    new_numbers[1:][is_present] = np.arange(1, int(is_present.sum()) + 1)
    for block in grid:
        values = np.asarray(array[block])
        if values.any():
            array[block] = new_numbers[values]
    return [f"{int((~is_present).sum())} {things} {WITHOUT_PIXEL}"]


def _crossing_message(glands: ObjectExtents, annotated_glands: ObjectExtents) -> list[str]:
    annotated_px = annotated_glands.area_px
    crossing = int(((annotated_px > 0) & (annotated_px < glands.area_px)).sum())
    if not crossing:
        return []
    return [
        f"{counted(crossing, 'gland')} across the edge of a region or of {IGNORE}; "
        "only what lies inside counts"
    ]


def _stored_regions(names: list[str], regions: ObjectExtents) -> list[StoredRegion]:
    """Names and bounding boxes of the regions that have a pixel."""
    stored: list[StoredRegion] = []
    for name, area, box in zip(names, regions.area_px, regions.box_px.tolist(), strict=True):
        if area:
            top, left, bottom, right = box
            stored.append(StoredRegion(name, Window(top, left, bottom - top, right - left)))
    return stored
