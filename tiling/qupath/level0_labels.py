"""GeoJSON <-> an instance label image at level 0: the conversions of the command line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tiling.objects.extents import ObjectExtents, merge_extents, object_extents
from tiling.objects.trace import trace_objects
from tiling.outlines.mask_image import check_label_image, open_mask_image
from tiling.outlines.outline_raster import OutlineRaster
from tiling.qupath.annotations import read_annotations
from tiling.qupath.class_names import GLAND, Reading
from tiling.qupath.geojson_writer import OutlineStyle, geojson_file, object_id
from tiling.qupath.label_store import WITHOUT_PIXEL
from tiling.qupath.placement import place_annotations
from tiling.raster.atomic_files import partial_file
from tiling.raster.geometry import Block, CoordinateFrame, Geometry, blocks
from tiling.raster.mask_rules import mask_problem, one_channel
from tiling.raster.runs import find_runs
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import SHARD_PX

_TIFF_TILE_PX = 512
_STYLE = OutlineStyle(object_type="annotation")


def geojson_to_labels(
    annotations: Path,
    slide: Path,
    out: Path,
    *,
    gland_class: str = GLAND,
    objects: Literal["annotations", "all"] = "annotations",
    origin: CoordinateFrame = "bounds",
) -> list[str]:
    """Write glands as an int32 instance label TIFF at level 0 of a slide.

    Labels follow the order of the file; where outlines overlap, the pixels belong to the smaller.

    Parameters
    ----------
    annotations : GeoJSON
    slide : gives the size
    out : TIFF, appears when it is complete
    gland_class, objects : see `tiling.qupath.annotations.read_annotations`
    origin : what the coordinates of the GeoJSON are relative to

    Returns
    -------
    What was skipped, clipped or repaired, one sentence each.

    Raises
    ------
    AnnotationError, SlideError
        The outlines or the slide cannot be read.
    """
    geometry = _level0_geometry(slide)
    drawn = read_annotations(annotations, gland_class=gland_class, objects=objects)
    glands = place_annotations(drawn, annotations, geometry, origin)[Reading.GLAND]
    absent = _write_label_tiff(glands, geometry, out)
    messages = list(drawn.messages)
    if not drawn.counts:
        messages.append(f"{annotations}: no object in it")
    if absent:
        messages.append(f"{annotations}: {absent} glands {WITHOUT_PIXEL}")
    return messages


def labels_to_geojson(labels: Path, out: Path) -> int:
    """Write the outlines of a label image as QuPath annotations; returns the number of objects.

    The image is read block by block; the objects are written in the order of their first pixels.

    Parameters
    ----------
    labels : instance labels at level 0, one channel of whole numbers, 0 = background
    out : GeoJSON; gzip when the name ends in .gz

    Raises
    ------
    AnnotationError
        Not a readable label image.
    """
    with open_mask_image(labels) as image:
        check_label_image(image, labels)
        height, width = image.shape[:2]
        try:
            numbered = _NumberedImage(image)
        except ValueError as error:
            raise AnnotationError(f"{labels}: {error}") from error
        problem = mask_problem(numbered.values, solid=numbered.values)
        if problem is not None:
            raise AnnotationError(f"{labels}: {problem}")
        with geojson_file(out, Geometry.uniform(width, height), "slide") as writer:
            for traced in trace_objects(numbered, numbered.windows_px):
                for row, shape in zip(traced.rows.tolist(), traced.shapes, strict=True):
                    identity = object_id(labels.name, int(numbered.first_px[row]))
                    writer.write(shape, identity, _STYLE)
    return len(numbered.first_px)


def _level0_geometry(slide: Path) -> Geometry:
    """Geometry of level 0, with the part that the viewer shows."""
    from tiling.slides.child_probe import check_not_fatal
    from tiling.slides.slide_reader import open_slide

    check_not_fatal(slide)
    with open_slide(slide) as opened:
        metadata = opened.metadata
    left, top, width, height = metadata.bounds_level0
    return replace(
        Geometry.uniform(metadata.width_px, metadata.height_px),
        bounds_x=left,
        bounds_y=top,
        bounds_width_px=width,
        bounds_height_px=height,
    )


def _write_label_tiff(glands: OutlineRaster, geometry: Geometry, out: Path) -> int:
    """Write the numbers of the outlines; returns how many of them have no pixel."""
    import tifffile

    shape = (geometry.height_px, geometry.width_px)
    has_pixel = np.zeros(len(glands) + 1, bool)

    def tiles() -> Iterator[NDArray[np.int32]]:
        side = _TIFF_TILE_PX
        for y in range(0, shape[0], side):
            for x in range(0, shape[1], side):
                pixels = glands[slice(y, y + side), slice(x, x + side)]
                has_pixel[pixels] = True
                yield pixels

    with partial_file(out) as partial:
        tifffile.imwrite(
            partial,
            tiles(),
            shape=shape,
            dtype=np.int32,
            tile=(_TIFF_TILE_PX, _TIFF_TILE_PX),
            compression="zlib",
            bigtiff=True,
            metadata=None,
            software=False,
        )
    return len(glands) - int(has_pixel[1:].sum())


class _NumberedImage:
    """A label image with any numbers, read as labels 1..N in the order of their first pixels.

    Attributes
    ----------
    shape : height and width
    values : int64 (N,), numbers of the image, ascending
    first_px, windows_px : int64 (N,) and (N, 4), as in the object table of a gland store
    """

    def __init__(self, image: Any) -> None:  # noqa: ANN401  # numpy or zarr array
        self._image, self.shape = image, tuple(image.shape[:2])
        height, width = self.shape
        parts: list[tuple[NDArray[np.int64], ObjectExtents]] = []
        index_of_value: dict[int, int] = {}  # counted from 1, in the order of reading
        for block in blocks(height, width, SHARD_PX):
            pixels = one_channel(np.asarray(image[block])).astype(np.int64)
            values = np.unique(pixels)
            values = values[values != 0]
            local = np.where(pixels != 0, np.searchsorted(values, pixels) + 1, 0).astype(np.int32)
            indices = [
                index_of_value.setdefault(value, len(index_of_value) + 1)
                for value in values.tolist()
            ]
            part = object_extents(find_runs(local), len(values), block, width)
            parts.append((np.array(indices, np.int64), part))
        total = merge_extents(parts, len(index_of_value))
        order = np.argsort(total.first_px)
        label_of_index = np.empty(len(order), np.int32)
        label_of_index[order] = np.arange(1, len(order) + 1)
        all_values = np.fromiter(index_of_value, np.int64, len(index_of_value))
        self.values = np.sort(all_values)
        labels = label_of_index[np.argsort(all_values)]
        self._labels = np.concatenate([[0], labels]).astype(np.int32)
        self.first_px = total.first_px[order]
        top, left, bottom, right = total.box_px[order].T
        self.windows_px = np.stack([top, left, bottom - top, right - left], axis=1)

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        pixels = one_channel(np.asarray(self._image[block])).astype(np.int64)
        return self._labels[np.where(pixels != 0, np.searchsorted(self.values, pixels) + 1, 0)]
