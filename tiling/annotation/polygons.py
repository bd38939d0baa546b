"""GeoJSON geometries -> valid shapely polygons, repaired with a message where hands or programs slipped."""

import math
from typing import Any

import numpy as np
import shapely
import shapely.affinity

from tiling.errors import AnnotationError

_FARTHEST_PX = 1e8
_CORNERS = 4
_ELLIPSE_SEGMENTS = 32


def polygon_of(geometry: Any, where: str) -> tuple[Any, list[str]]:  # noqa: ANN401  # JSON, shapely
    """Polygon or MultiPolygon of a geometry, None when it has no area (point, line, null), and what was repaired.

    Open rings are closed; crossing rings keep every part they enclose; overlapping parts are united.

    Raises
    ------
    AnnotationError
        Coordinates that are no numbers or absurd, a ring that is no list: damaged, so nothing about it can be trusted.
    """
    if geometry is None:
        return None, [f"{where}: has no geometry; skipped"]
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        raise AnnotationError(f"{where}: its geometry is no GeoJSON object; delete it or export it again")
    notes: list[str] = []
    parts = _parts(geometry, where, notes)
    if not parts:
        return None, notes
    valid = all(part.is_valid for part in parts)
    shape = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    if not (valid and shape.is_valid):
        reason = shapely.is_valid_reason(shape)
        # "structure" unites what a ring winds around twice, where "linework" would punch a hole; both keep both lobes of an 8.
        shape = shapely.unary_union([shapely.make_valid(part, method="structure", keep_collapsed=False) for part in parts])
        notes.append(f"{where}: outline repaired ({reason}); look at it in QuPath")
    polygons = [part for part in shapely.get_parts(shape).tolist() if isinstance(part, shapely.Polygon) and part.area > 0]
    if not polygons:
        return None, [*notes, f"{where}: encloses no area; skipped"]
    return (polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)), notes


def _parts(geometry: dict[str, Any], where: str, notes: list[str]) -> list[Any]:
    kind = geometry["type"]
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        if not isinstance(members, list):
            raise AnnotationError(f"{where}: a GeometryCollection without a list of geometries; delete it or export it again")
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
    polygons = [_polygon(rings, where, notes) for rings in (given if kind == "MultiPolygon" else [given])]
    kept = [polygon for polygon in polygons if polygon is not None]
    if geometry.get("isEllipse") is True and len(kept) == 1:
        return [_ellipse(kept[0])]
    return kept


def _polygon(rings: Any, where: str, notes: list[str]) -> Any:  # noqa: ANN401  # JSON, shapely
    if not isinstance(rings, list):
        raise AnnotationError(f"{where}: a polygon that is no list of rings; delete it or export it again")
    lines = [_ring(ring, where, notes) for ring in rings]
    if not lines or lines[0] is None:
        notes.append(f"{where}: encloses no area; skipped")
        return None
    return shapely.Polygon(lines[0], [line for line in lines[1:] if line is not None])


def _ring(ring: Any, where: str, notes: list[str]) -> Any:  # noqa: ANN401  # JSON
    """Ring as (n, 2) floats, closed; None when it has fewer than three different points."""
    if not isinstance(ring, list) or not all(isinstance(point, list) and len(point) >= 2 for point in ring):
        raise AnnotationError(f"{where}: a ring that is no list of (x, y) points; delete it or export it again")
    for point in ring:
        if not all(_is_coordinate(value) for value in point[:2]):
            raise AnnotationError(f"{where}: coordinate {str(point[:2])[:60]} is not a place on a slide; delete it or export it again")
    points = [(float(point[0]), float(point[1])) for point in ring]
    if len(set(points)) < 3:
        return None
    if points[0] != points[-1]:
        notes.append(f"{where}: open outline closed")
        points.append(points[0])
    return np.array(points)


def _is_coordinate(value: Any) -> bool:  # noqa: ANN401  # JSON
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < _FARTHEST_PX


def _ellipse(polygon: Any) -> Any:  # noqa: ANN401  # shapely
    """The ellipse itself where only its box was written; QuPath usually writes the whole outline."""
    if shapely.get_num_coordinates(polygon) > _CORNERS + 1:
        return polygon
    left, top, right, bottom = polygon.bounds
    circle = shapely.Point(0, 0).buffer(1, quad_segs=_ELLIPSE_SEGMENTS)
    shape = shapely.affinity.scale(circle, (right - left) / 2, (bottom - top) / 2, origin=(0, 0))
    return shapely.affinity.translate(shape, (left + right) / 2, (top + bottom) / 2)
