"""The annotation of a slide on its thumbnail: regions, outlines of glands, and ignored areas."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.outlines.outline_raster import NumberedBlocks
from tiling.pictures.canvas import (
    ANNOTATED_COLOUR,
    IGNORED_COLOUR,
    REGION_COLOUR,
    Thumbnail,
    colour_mask,
    mark_pixels,
)
from tiling.qupath.class_names import Reading
from tiling.raster.edges import inner_edges
from tiling.raster.geometry import Block, blocks
from tiling.stores.arrays import SHARD_PX, open_array, open_store

_HATCH_PX = 5


class AnnotationOnThumbnail(NamedTuple):
    """Where an annotation is on a thumbnail; bool (height, width) each.

    Attributes
    ----------
    regions, glands : outlines, one pixel of the thumbnail wide
    ignored : areas without weight
    """

    regions: NDArray[np.bool_]
    glands: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    def draw(self, image: Image.Image, *, thick: bool = False) -> Image.Image:
        """A copy of a picture of the size of the thumbnail, with the annotation.

        Parameters
        ----------
        thick : frames of regions are three pixels wide instead of one
        """
        rows, columns = np.indices(self.ignored.shape)
        hatched = self.ignored & ((rows + columns) % _HATCH_PX == 0)
        outlined = inner_edges(np.pad(self.ignored, 1).astype(np.int32))[1:-1, 1:-1]
        image = colour_mask(image, hatched | outlined, IGNORED_COLOUR)
        image = colour_mask(image, self.glands, ANNOTATED_COLOUR)
        regions = ndimage.binary_dilation(self.regions) if thick else self.regions
        return colour_mask(image, regions, REGION_COLOUR)


def annotation_on_thumbnail(
    numbers: Mapping[Reading, NumberedBlocks], thumbnail: Thumbnail, *, block_px: int = SHARD_PX
) -> AnnotationOnThumbnail:
    """Find the pixels of a thumbnail that an annotation covers, block by block.

    Parameters
    ----------
    numbers : of the glands, regions and ignored areas, on the stored grid
    thumbnail : of the slide
    block_px : side of a block, stored pixels
    """
    shape = (thumbnail.image.height, thumbnail.image.width)
    regions, glands, ignored = (np.zeros(shape, bool) for _ in range(3))
    height, width = thumbnail.geometry.height_px, thumbnail.geometry.width_px
    for block in blocks(height, width, block_px):
        for reading, marked in ((Reading.GLAND, glands), (Reading.REGION, regions)):
            edges = _edges(np.asarray(numbers[reading][block]), block, height, width)
            mark_pixels(marked, edges, block, thumbnail)
        mark_pixels(ignored, np.asarray(numbers[Reading.IGNORED][block]) > 0, block, thumbnail)
    return AnnotationOnThumbnail(regions, glands, ignored)


def stored_annotation(labels: Path) -> dict[Reading, NumberedBlocks]:
    """The annotation in a label store; ignored areas outside the regions are not stored."""
    group = open_store(labels)
    region = open_array(group, "region")
    return {
        Reading.GLAND: _StoredBlocks(open_array(group, "labels")),
        Reading.REGION: _StoredBlocks(region),
        Reading.IGNORED: _IgnoredBlocks(region, open_array(group, "weight")),
    }


class _StoredBlocks:
    """Blocks of an array."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._array = array

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        return np.asarray(self._array[block], np.int32)


class _IgnoredBlocks:
    """1 where a pixel of a region has no weight."""

    def __init__(self, region: zarr.Array[Any], weight: zarr.Array[Any]) -> None:
        self._region, self._weight = region, weight

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        is_region = np.asarray(self._region[block]) > 0
        return np.asarray(is_region & (np.asarray(self._weight[block]) == 0), np.int32)


def _edges(
    numbers: NDArray[np.integer], block: Block, height: int, width: int
) -> NDArray[np.bool_]:
    """Edges of the objects in a block; the border of the slide is an edge, that of the block not.

    Masks are read by whole blocks only, so that an edge between two blocks is not found: on a
    thumbnail it is a part of a line one pixel wide.
    """
    if not numbers.any():
        return np.zeros(numbers.shape, bool)
    rows, columns = block
    padded = np.pad(numbers, 1, mode="edge")
    if rows.start == 0:
        padded[0] = 0
    if rows.stop == height:
        padded[-1] = 0
    if columns.start == 0:
        padded[:, 0] = 0
    if columns.stop == width:
        padded[:, -1] = 0
    return inner_edges(padded)[1:-1, 1:-1]
