"""Checks that outlines lie on their slide."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.raster.geometry import CoordinateFrame, Geometry
from tiling.slide_errors import AnnotationError

_MAX_SHARE_OFF_SLIDE = 0.5
_MAX_COVER = 20  # times the area of the slide: each outline takes time on all of its pixels


class OffSlideError(AnnotationError):
    """Most of the outlined area lies off the slide."""


def check_cover(shapes: Sequence[Any], path: Path, geometry: Geometry) -> NDArray[np.int64]:
    """Check how outlines cover the slide; returns the indices of those that reach over its edge.

    Parameters
    ----------
    shapes : shapely polygons, (x, y) in stored pixel edges
    path : their file, for messages
    geometry : of the grid

    Raises
    ------
    OffSlideError
        Most of the outlined area lies off the slide.
    AnnotationError
        The outlines lie on each other so often, or are so long, that to draw them would take very
        long.
    """
    all_shapes = np.array(shapes, object)
    slide_box = shapely.box(0, 0, geometry.width_px, geometry.height_px)
    area = shapely.area(all_shapes)
    # The general intersection takes seconds for an outline of 100 000 points.
    area_inside = shapely.area(shapely.clip_by_rect(all_shapes, *slide_box.bounds))
    if area.sum() > 0 and area_inside.sum() < (1 - _MAX_SHARE_OFF_SLIDE) * area.sum():
        raise OffSlideError(
            f"{path}: {100 * (1 - area_inside.sum() / area.sum()):.0f} % of the outlined area lies "
            f"off the slide ({geometry.slide_width_px} x {geometry.slide_height_px} px); "
            "check the file, its origin, and the level it was drawn at"
        )
    if area_inside.sum() > _MAX_COVER * slide_box.area:
        raise AnnotationError(
            f"{path}: its outlines lie on each other: together they have "
            f"{area_inside.sum() / slide_box.area:.0f} times the area of the slide; "
            "keep one outline for each object"
        )
    if shapely.length(all_shapes).sum() > _MAX_COVER * (slide_box.area + slide_box.length):
        raise AnnotationError(
            f"{path}: its outlines are longer than the slide has pixels; simplify them"
        )
    return np.flatnonzero(area_inside < area * (1 - 1e-6))


def check_viewer(
    viewer_px: tuple[int, int] | None, path: Path, geometry: Geometry, origin: CoordinateFrame
) -> None:
    """Refuse a file of this pipeline that was written for a slide of another size.

    Parameters
    ----------
    viewer_px : (width, height) that the file states; None: it states none
    path : the file, for messages
    geometry : of the slide
    origin : what the coordinates of the file are relative to

    Raises
    ------
    AnnotationError
        The sizes differ.
    """
    expected = geometry.viewer_size(origin)
    if viewer_px is not None and viewer_px != expected:
        raise AnnotationError(
            f"{path}: written for a slide of {viewer_px[0]} x {viewer_px[1]} px, "
            f"this one has {expected[0]} x {expected[1]} px; check the file and its origin"
        )
