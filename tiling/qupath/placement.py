"""Outlines of an annotation file -> outlines on the stored grid, with checks that both fit."""

from pathlib import Path
from typing import Any

import shapely

from tiling.outlines.outline_raster import OutlineRaster, to_stored_px
from tiling.outlines.slide_cover import OffSlideError, check_cover, check_viewer
from tiling.qupath.annotations import AnnotatedOutline, SlideAnnotations
from tiling.qupath.class_names import Reading
from tiling.qupath.coordinate_causes import IsTissue, likely_cause
from tiling.raster.geometry import CoordinateFrame, Geometry
from tiling.slide_errors import AnnotationError


def place_annotations(
    drawn: SlideAnnotations,
    path: Path,
    geometry: Geometry,
    origin: CoordinateFrame,
    *,
    is_tissue: IsTissue | None = None,
) -> dict[Reading, OutlineRaster]:
    """Outlines on the grid of a slide, by how they are read; number i + 1 for outline i.

    Overlapping glands and outlines that cross the edge of the slide add messages to `drawn`.

    Parameters
    ----------
    drawn : outlines, level-0 pixels
    path : their file, for messages
    geometry : of the grid
    origin : what the coordinates of the file are relative to
    is_tissue : for the likely cause in the error, see `tiling.qupath.coordinate_causes`

    Raises
    ------
    AnnotationError
        The file was written for a slide of another size, or most of the outlined area lies off the
        slide.
    """
    check_viewer(drawn.viewer_px, path, geometry, origin)
    offset = geometry.viewer_offset(origin)
    shapes = {
        reading: [to_stored_px(outline.shape, geometry, offset) for outline in outlines]
        for reading, outlines in drawn.outlines.items()
    }
    _check_inside(drawn, shapes, path, geometry, origin, is_tissue)
    rasters = {reading: OutlineRaster(group) for reading, group in shapes.items()}
    overlaps = rasters[Reading.GLAND].overlaps()
    if overlaps.pairs:
        drawn.messages.append(
            f"{path}: {overlaps.text('glands')}; the shared pixels belong to the smaller one"
        )
    return rasters


def viewer_region(geometry: Geometry, origin: CoordinateFrame) -> OutlineRaster:
    """Everything that the viewer shows, as one region."""
    left, top = geometry.viewer_offset(origin)
    width, height = geometry.viewer_size(origin)
    right, bottom = left + width, top + height
    box = to_stored_px(shapely.box(left, top, right, bottom), geometry, (0, 0))
    x0, y0, x1, y1 = box.bounds
    # The edge of the slide may lie inside the last stored pixel, which counts as well.
    if right >= geometry.slide_width_px:
        x1 = max(x1, geometry.width_px)
    if bottom >= geometry.slide_height_px:
        y1 = max(y1, geometry.height_px)
    return OutlineRaster([shapely.box(x0, y0, x1, y1)])


def _check_inside(
    drawn: SlideAnnotations,
    shapes: dict[Reading, list[Any]],
    path: Path,
    geometry: Geometry,
    origin: CoordinateFrame,
    is_tissue: IsTissue | None,
) -> None:
    """Refuse outlines that are mostly off the slide; report those that cross its edge."""
    all_shapes: list[Any] = []
    outlines: list[AnnotatedOutline] = []
    for reading, group in shapes.items():
        all_shapes += group
        outlines += drawn.outlines[reading]
    try:
        clipped = check_cover(all_shapes, path, geometry)
    except OffSlideError as error:
        all_outlines = [outline.shape for outline in outlines]
        cause = likely_cause(all_outlines, geometry, is_tissue, origin)
        hint = f". They {cause.removeprefix('the outlines ')}" if cause else ""
        raise AnnotationError(f"{error}{hint}") from error
    if len(clipped):
        drawn.messages.append(
            f"{path}: {len(clipped)} outlines reach over the slide's edge "
            f"(first: {outlines[clipped[0]].id}); they are clipped there"
        )
