"""GeoJSON geometries -> valid shapely polygons, repaired with a message where hands or programs slipped."""

import math
from typing import Any

import numpy as np
import shapely
import shapely.affinity

from tiling.slide_errors import AnnotationError

_FARTHEST_PX = 1e8
_CORNERS = 4
_ELLIPSE_SEGMENTS = 32
_MOST_CHANGE = 0.01


class AmbiguousOutline(AnnotationError):
    """An outline that crosses itself so far that nobody can tell what it encloses.

    Attributes
    ----------
    hull : shapely geometry that holds all of it
    """

    def __init__(self, message: str, hull: Any) -> None:  # noqa: ANN401  # shapely
        super().__init__(message)
        self.hull = hull


def polygon_of(geometry: Any, where: str) -> tuple[Any, list[str]]:  # noqa: ANN401  # JSON, shapely
    """Polygon or MultiPolygon of a geometry, None when it has no area (point, line, null), and what was repaired.

    Open rings are closed. A ring that crosses itself, or a hole outside, is repaired when that changes the area by less than 1 %, and keeps
    every part it encloses; parts that overlap are united.

    Raises
    ------
    AmbiguousOutline
        A crossing that would change the area by more.
    AnnotationError
        Coordinates that are no numbers or absurd, a ring that is no list: damaged, so nothing about it can be trusted.
    """
    if geometry is None:
        return None, [f"{where}: has no geometry; skipped"]
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        raise AnnotationError(
            f"{where}: its geometry is no GeoJSON object; delete it or export it again"
        )
    notes: list[str] = []
    parts = _parts(geometry, where, notes)
    repaired = [part if part.is_valid else _repaired(part, where, notes) for part in parts]
    shape = (
        repaired[0]
        if len(repaired) == 1
        else shapely.MultiPolygon([part for whole in repaired for part in _polygons(whole)])
    )
    if not shape.is_valid:
        notes.append(
            f"{where}: parts that overlap are united ({shapely.is_valid_reason(shape)}); look at it in QuPath"
        )
        shape = shapely.unary_union(repaired)
    polygons = _polygons(shape)
    if not polygons:
        return None, [*notes, f"{where}: encloses no area; skipped"] if parts else notes
    return (polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)), notes


def _repaired(polygon: Any, where: str, notes: list[str]) -> Any:  # noqa: ANN401  # shapely
    """The polygon without its crossings, if both ways to count its area agree."""
    reason = shapely.is_valid_reason(polygon)
    # "structure" unites what a ring winds around twice, where "linework" would punch a hole; both keep both lobes of an 8.
    shape = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    # The area of the ring as it runs: lobes count by their sense of rotation, what is circled twice counts twice.
    change = abs(shape.area - polygon.area)
    if change > _MOST_CHANGE * max(shape.area, polygon.area):
        share = 100 * change / max(shape.area, polygon.area)
        raise AmbiguousOutline(
            f"{where}: crosses itself ({reason}), and a repair would change its area by {share:.0f} %; left out: draw it again in QuPath",
            polygon.convex_hull,
        )
    notes.append(f"{where}: outline repaired ({reason}); look at it in QuPath")
    return shape


def _polygons(shape: Any) -> list[Any]:  # noqa: ANN401  # shapely
    return [
        part
        for part in shapely.get_parts(shape).tolist()
        if isinstance(part, shapely.Polygon) and part.area > 0
    ]


def _parts(geometry: dict[str, Any], where: str, notes: list[str]) -> list[Any]:
    kind = geometry["type"]
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        if not isinstance(members, list):
            raise AnnotationError(
                f"{where}: a GeometryCollection without a list of geometries; delete it or export it again"
            )
        shapes = [part for member in members if isinstance(member, dict) and member.get("type") in ("Polygon", "MultiPolygon")
                  for part in _parts(member, where, notes)]  # fmt: skip
        if len(members) != len(shapes):
            notes.append(f"{where}: of a collection only its polygons are read")
        return shapes
    if kind not in ("Polygon", "MultiPolygon"):
        return []
    given = geometry.get("coordinates")
    if not isinstance(given, list):
        raise AnnotationError(f"{where}: no coordinates; delete it or export it again")
    polygons = [
        _polygon(rings, where, notes) for rings in (given if kind == "MultiPolygon" else [given])
    ]
    kept = [polygon for polygon in polygons if polygon is not None]
    if geometry.get("isEllipse") is True and len(kept) == 1:
        return [_ellipse(kept[0])]
    return kept


def _polygon(rings: Any, where: str, notes: list[str]) -> Any:  # noqa: ANN401  # JSON, shapely
    if not isinstance(rings, list):
        raise AnnotationError(
            f"{where}: a polygon that is no list of rings; delete it or export it again"
        )
    lines = [_ring(ring, where, notes) for ring in rings]
    if not lines or lines[0] is None:
        notes.append(f"{where}: encloses no area; skipped")
        return None
    return shapely.Polygon(lines[0], [line for line in lines[1:] if line is not None])


def _ring(ring: Any, where: str, notes: list[str]) -> Any:  # noqa: ANN401  # JSON
    """Ring as (n, 2) floats, closed; None when it has fewer than three different points."""
    if not isinstance(ring, list) or not all(
        isinstance(point, list) and len(point) >= 2 for point in ring
    ):
        raise AnnotationError(
            f"{where}: a ring that is no list of (x, y) points; delete it or export it again"
        )
    for point in ring:
        if not all(_is_coordinate(value) for value in point[:2]):
            raise AnnotationError(
                f"{where}: coordinate {str(point[:2])[:60]} is not a place on a slide; delete it or export it again"
            )
    points = [(float(point[0]), float(point[1])) for point in ring]
    if len(set(points)) < 3:
        return None
    if points[0] != points[-1]:
        notes.append(f"{where}: open outline closed")
        points.append(points[0])
    return np.array(points)


def _is_coordinate(value: Any) -> bool:  # noqa: ANN401  # JSON
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) < _FARTHEST_PX
    )


def _ellipse(polygon: Any) -> Any:  # noqa: ANN401  # shapely
    """The ellipse itself where only its box was written; QuPath usually writes the whole outline."""
    if shapely.get_num_coordinates(polygon) > _CORNERS + 1:
        return polygon
    left, top, right, bottom = polygon.bounds
    circle = shapely.Point(0, 0).buffer(1, quad_segs=_ELLIPSE_SEGMENTS)
    shape = shapely.affinity.scale(circle, (right - left) / 2, (bottom - top) / 2, origin=(0, 0))
    return shapely.affinity.translate(shape, (left + right) / 2, (top + bottom) / 2)
