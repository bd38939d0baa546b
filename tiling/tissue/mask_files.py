"""Files by which a person replaces or restricts the tissue of a slide."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.messages import counted
from tiling.outlines.geojson_reader import GeoJsonFile
from tiling.outlines.mask_image import is_image, open_mask_image
from tiling.outlines.outline_raster import OutlineRaster, to_stored_px
from tiling.outlines.polygons import polygon_of
from tiling.outlines.regular_file import open_regular_file
from tiling.outlines.slide_cover import check_cover, check_viewer
from tiling.raster.atomic_files import file_checksum
from tiling.raster.geometry import CoordinateFrame, Geometry
from tiling.raster.mask_rules import mask_problem, solid_numbers, without_alpha
from tiling.slide_errors import AnnotationError, SlideError
from tiling.slides.read_errors import FileReadError, file_read_errors

log = logging.getLogger(__name__)
_MAX_MESSAGES = 30
_MAX_CHANNELS = 4
# Checking a mask takes ten times its memory, and the job has 2000 MB.
_MAX_MASK_BYTES = 1 << 27


@dataclass(frozen=True)
class MaskFiles:
    """Files by which a person replaces or restricts the tissue of a slide.

    Attributes
    ----------
    tissue, roi : GeoJSON of polygons (x, y in level-0 pixels), or a mask image of the whole slide;
        `tissue` replaces the tissue that is found, `roi` restricts it
    origin : where the coordinates of GeoJSON start
    """

    tissue: Path | None = None
    roi: Path | None = None
    origin: CoordinateFrame = "bounds"

    def checksums(self) -> dict[str, str]:
        """Checksums of the files, by the names "tissue" and "roi".

        Raises
        ------
        SlideError
            A file is missing.
        """
        files = {"tissue": self.tissue, "roi": self.roi}
        return {name: _checksum(path, name) for name, path in files.items() if path is not None}

    def apply(self, detected: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
        """The detected tissue, replaced or restricted by the files.

        Parameters
        ----------
        detected : bool (height_px, width_px)
        geometry : of the mask

        Raises
        ------
        SlideError
            See `mask_from_file`; or there is tissue, but none in the region of interest.
        """
        tissue = detected
        if self.tissue is not None:
            tissue = mask_from_file(self.tissue, geometry, origin=self.origin, column="tissue")
        if self.roi is None:
            return tissue
        restricted = tissue & mask_from_file(self.roi, geometry, origin=self.origin, column="roi")
        if tissue.any() and not restricted.any():
            raise SlideError(
                f"{self.roi}: no tissue in this region of interest; check the file and its origin"
            )
        return restricted


NO_MASKS = MaskFiles()


def _checksum(path: Path, column: str) -> str:
    try:
        with open_regular_file(path, column=column):  # a pipe would wait for ever
            return file_checksum(path)
    except AnnotationError as error:
        raise SlideError(str(error)) from error


def mask_from_file(
    path: Path, geometry: Geometry, *, origin: CoordinateFrame, column: str = "tissue"
) -> NDArray[np.bool_]:
    """A mask from GeoJSON polygons or from an image of the whole slide (0 = outside).

    GeoJSON and images are read by the readers of annotations, with the same limits, repairs and
    messages; objects of all classes and kinds that enclose an area count. What was skipped or
    repaired is logged.

    Parameters
    ----------
    path : GeoJSON (plain, gzip or zip) or an image
    geometry : of the mask
    origin : where the coordinates of GeoJSON start
    column : of the sheet in which the path stands, for messages

    Returns
    -------
    ndarray
        bool (height_px, width_px)

    Raises
    ------
    SlideError
        Not readable, without polygons, off the slide, nothing inside, or an image with other
        proportions than the slide.
    """
    try:
        if is_image(path, column=column):
            mask = _stretched(path, _inside(path, column), geometry)
        else:
            mask = _drawn(path, geometry, origin, column)
    except AnnotationError as error:
        raise SlideError(str(error)) from error
    if not mask.any():
        raise SlideError(
            f"{path}: no pixel of the slide is inside; draw the area again, or leave column "
            f"'{column}' empty"
        )
    return mask


def _drawn(
    path: Path, geometry: Geometry, origin: CoordinateFrame, column: str
) -> NDArray[np.bool_]:
    """The pixels whose centre lies in a polygon."""
    offset = geometry.viewer_offset(origin)
    shapes: list[Any] = []
    messages: list[str] = []
    without_area = 0
    file = GeoJsonFile(path, column=column)
    for feature in file.features():
        # An outline of unclear area is an error here: without it, or with its hull, the tissue
        # would be another one than a person drew.
        shape, notes = polygon_of(feature.geometry, f"{path}: feature {feature.id}")
        messages += notes[: _MAX_MESSAGES - len(messages)]
        without_area += shape is None
        if shape is not None:
            shapes.append(to_stored_px(shape, geometry, offset))
    check_viewer(file.viewer_px, path, geometry, origin)
    if not shapes:
        raise SlideError(
            f"{path}: no polygon in it; draw the area as a closed shape and export it again"
        )
    if without_area:
        messages.append(f"{path}: left out: {counted(without_area, 'object')} without area")
    clipped = check_cover(shapes, path, geometry)
    if len(clipped):
        messages.append(
            f"{path}: {counted(len(clipped), 'outline')} over the slide's edge, clipped there"
        )
    for message in messages:
        log.warning("%s", message)
    whole = (slice(0, geometry.height_px), slice(0, geometry.width_px))
    return np.asarray(OutlineRaster(shapes)[whole] > 0, bool)


def _inside(path: Path, column: str) -> NDArray[np.bool_]:
    """Where the colours of a mask image are not 0."""
    with open_mask_image(path, column=column) as image:
        shape = tuple(image.shape)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] > _MAX_CHANNELS):
            raise SlideError(f"{path}: an array of shape {shape} is not a mask image")
        if math.prod(shape) * image.dtype.itemsize > _MAX_MASK_BYTES:
            raise SlideError(
                f"{path}: {shape[1]} x {shape[0]} px are too many for a mask (at most "
                f"{_MAX_MASK_BYTES >> 20} MiB without compression); save it at a lower resolution, "
                "with one channel of 8 bits"
            )
        try:
            with file_read_errors():
                pixels = np.asarray(image[...])
            colours = without_alpha(pixels)
        except FileReadError as error:
            raise SlideError(
                f"{path}: damaged mask image ({error}); export or copy it again"
            ) from error
        except ValueError as error:
            raise SlideError(f"{path}: {error}") from error
    if pixels.ndim == 3 and not colours.any() and np.ptp(pixels[..., -1]) > 0:
        raise SlideError(
            f"{path}: black, with the mask in its alpha channel; save it without alpha channel, "
            "white inside and black outside"
        )
    brightest = colours.max(axis=-1) if colours.ndim == 3 else colours
    problem = mask_problem(np.unique(brightest), solid_numbers(np.pad(brightest, 1, mode="edge")))
    if problem is not None:
        raise SlideError(f"{path}: {problem}")
    return np.asarray(brightest != 0, bool)


def _stretched(path: Path, inside: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
    """The nearest pixels of a mask image that is stretched over the slide."""
    height, width = inside.shape
    slide_width, slide_height = geometry.slide_width_px, geometry.slide_height_px
    slide_ratio = slide_width / slide_height
    # The sides of a mask at 1/64 are rounded by up to one pixel. With a larger difference it is an
    # image of something else.
    tolerance = (1 + 1.5 / width) * (1 + 1.5 / height)
    if not slide_ratio / tolerance <= width / height <= slide_ratio * tolerance:
        raise SlideError(
            f"{path}: {width} x {height} px does not have the proportions of the slide "
            f"({slide_width} x {slide_height}); export the mask of the whole slide, at any scale"
        )
    centres_y = (np.arange(geometry.height_px) + 0.5) * geometry.downsample_y
    centres_x = (np.arange(geometry.width_px) + 0.5) * geometry.downsample_x
    rows = (centres_y / slide_height * height).astype(np.int64)
    columns = (centres_x / slide_width * width).astype(np.int64)
    # The last stored pixel may have its centre beyond the slide.
    rows, columns = np.minimum(rows, height - 1), np.minimum(columns, width - 1)
    return np.asarray(inside[np.ix_(rows, columns)], bool)
