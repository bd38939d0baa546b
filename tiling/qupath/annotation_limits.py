"""Limits of an annotation file: above them, its labels would take minutes and gigabytes.

Files that this pipeline writes are not annotations, and have no such limits.
"""

from itertools import chain
from pathlib import Path
from typing import Any

from tiling.outlines.geojson_reader import AnnotationFeature
from tiling.outlines.outline_raster import OutlineRaster
from tiling.qupath.class_names import REGION, Reading
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import SHARD_PX

MAX_OUTLINES = 50_000
MAX_POINTS = 1_000_000
MAX_REGIONS = 2000
# Points that are drawn, each once for every block that its outline reaches into.
MAX_DRAWN_POINTS = 10_000_000
_FEWER_POINTS = "simplify the outlines in QuPath (Objects > Annotations... > Simplify shape)"


class AnnotationLimits:
    """Counts the annotations of a file while it is read, and refuses it above the limits.

    Parameters
    ----------
    path : the file, for messages
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outlines = self._points = self._regions = 0

    def add(self, feature: AnnotationFeature, reading: Reading | None) -> None:
        """Count one feature; objects that no person drew do not count.

        Raises
        ------
        AnnotationError
            With the count, the limit and the remedy.
        """
        if not feature.is_annotation:
            return
        self._outlines += 1
        self._points += point_count(feature.geometry)
        self._regions += reading in (Reading.REGION, Reading.EMPTY_REGION)
        if self._outlines > MAX_OUTLINES:
            self._refuse(
                "annotations",
                MAX_OUTLINES,
                "annotate a part of the slide, or export only what a person outlined",
            )
        if self._points > MAX_POINTS:
            self._refuse("points of outlines", MAX_POINTS, _FEWER_POINTS)
        if self._regions > MAX_REGIONS:
            self._refuse(f"areas of class {REGION}", MAX_REGIONS, "join them")

    def _refuse(self, nouns: str, limit: int, remedy: str) -> None:
        raise AnnotationError(f"{self._path}: more than {limit} {nouns}; {remedy}")


def point_count(geometry: Any) -> int:  # noqa: ANN401  # JSON
    """Points of the rings of a geometry; 0 if it has none, or is none.

    >>> point_count({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 1], [0, 0]]]})
    4
    >>> point_count({"type": "Polygon", "coordinates": 7})
    0
    """
    try:
        if geometry["type"] == "GeometryCollection":
            return sum(map(point_count, geometry["geometries"]))
        rings = geometry["coordinates"]
        if geometry["type"] == "MultiPolygon":
            rings = chain.from_iterable(rings)
        return sum(map(len, rings)) if geometry["type"] in ("Polygon", "MultiPolygon") else 0
    except (TypeError, KeyError):
        return 0


def check_drawing(rasters: dict[Reading, OutlineRaster], path: Path) -> None:
    """Refuse outlines that reach into so many blocks that to draw them takes very long.

    Parameters
    ----------
    rasters : all outlines of a file, on the stored grid
    path : the file, for messages

    Raises
    ------
    AnnotationError
        With the count, the limit and the remedy.
    """
    drawn_points = sum(raster.drawn_points(SHARD_PX) for raster in rasters.values())
    if drawn_points > MAX_DRAWN_POINTS:
        raise AnnotationError(
            f"{path}: {drawn_points} points to draw, counted once for every block of "
            f"{SHARD_PX} x {SHARD_PX} px that an outline reaches into, more than "
            f"{MAX_DRAWN_POINTS}; {_FEWER_POINTS}, or cut long outlines into parts"
        )
