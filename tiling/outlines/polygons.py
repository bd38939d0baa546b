"""GeoJSON geometries -> valid shapely polygons; small mistakes are repaired, with a message."""

from itertools import chain
from typing import Any

import numpy as np
import shapely
import shapely.affinity

from tiling.outlines.printable_names import quoted
from tiling.outlines.segment_pairs import has_too_many_crossings, has_too_many_pairs
from tiling.slide_errors import AnnotationError

_MAX_COORDINATE_PX = 1e8
_BOX_CORNERS = 4
_ELLIPSE_SEGMENTS = 32
_MAX_AREA_CHANGE = 0.01
_MAX_POINTS = 250_000
_FEW_POINTS = 20


class AmbiguousOutline(AnnotationError):
    """An outline whose area is not clear, because it crosses itself far or at too many places.

    Attributes
    ----------
    hull : shapely geometry that contains the outline
    """

    def __init__(self, message: str, hull: Any) -> None:  # noqa: ANN401  # shapely
        super().__init__(message)
        self.hull = hull


def polygon_of(geometry: Any, where: str) -> tuple[Any, list[str]]:  # noqa: ANN401  # JSON, shapely
    """Polygon or MultiPolygon of a geometry, and what was repaired, one sentence each.

    The polygon is None when the geometry has no area (point, line, null). Open rings are closed.
    A ring that crosses itself, or a hole outside its ring, is repaired when the repair changes the
    area by less than 1 %; it keeps every part that it encloses. Parts that overlap are joined.

    Parameters
    ----------
    geometry : JSON, not checked
    where : file and feature, begins every message

    Raises
    ------
    AmbiguousOutline
        The repair of a crossing would change the area by more, or the check or the repair would
        take too long.
    AnnotationError
        Coordinates are not numbers or too large, or a ring is not a list: the file is damaged.
    """
    if geometry is None:
        return None, [f"{where}: has no geometry; skipped"]
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        raise AnnotationError(
            f"{where}: its geometry is no GeoJSON object; delete it or export it again"
        )
    notes: list[str] = []
    parts = _parts(geometry, where, notes)
    _check_size(parts, where)
    repaired = [part if part.is_valid else _repaired(part, where, notes) for part in parts]
    if len(repaired) == 1:
        shape = repaired[0]
    else:
        shape = shapely.MultiPolygon([part for each in repaired for part in _polygons(each)])
    if not shape.is_valid:
        notes.append(
            f"{where}: parts that overlap are joined ({shapely.is_valid_reason(shape)}); "
            "check it in QuPath"
        )
        shape = shapely.unary_union(repaired)
    polygons = _polygons(shape)
    if not polygons:
        return None, [*notes, f"{where}: encloses no area; skipped"] if parts else notes
    return (polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)), notes


def _check_size(parts: list[Any], where: str) -> None:
    """Refuse what would take minutes and gigabytes to check or to draw."""
    points = sum(shapely.get_num_coordinates(part) for part in parts)
    if points > _MAX_POINTS:
        problem = f"has {points} points, more than {_MAX_POINTS}"
    elif parts and has_too_many_pairs(*parts):
        problem = "has too many lines side by side or across each other"
    else:
        return
    raise AmbiguousOutline(
        f"{where}: {problem}; simplify it or draw it again in QuPath",
        shapely.MultiPoint(shapely.get_coordinates(np.array(parts, object))).convex_hull,
    )


def _repaired(polygon: Any, where: str, notes: list[str]) -> Any:  # noqa: ANN401  # shapely
    """The polygon without its crossings, if the two ways to measure its area agree."""
    if has_too_many_crossings(polygon):
        raise AmbiguousOutline(
            f"{where}: crosses itself at too many places; draw it again in QuPath",
            polygon.convex_hull,
        )
    reason = shapely.is_valid_reason(polygon)
    # "structure" keeps what a ring goes around twice, where "linework" would cut a hole.
    # Both keep the two lobes of an 8.
    shape = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    # The signed area of the ring: lobes count by their sense of rotation, and what the ring goes
    # around twice counts twice.
    change = abs(shape.area - polygon.area)
    largest = max(shape.area, polygon.area)
    if change > _MAX_AREA_CHANGE * largest:
        raise AmbiguousOutline(
            f"{where}: crosses itself ({reason}), and a repair would change its area "
            f"by {100 * change / largest:.0f} %; draw it again in QuPath",
            polygon.convex_hull,
        )
    notes.append(f"{where}: outline repaired ({reason}); check it in QuPath")
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
        return _collection_parts(geometry, where, notes)
    if kind not in ("Polygon", "MultiPolygon"):
        return []
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, list):
        raise AnnotationError(f"{where}: no coordinates; delete it or export it again")
    rings_of_parts = coordinates if kind == "MultiPolygon" else [coordinates]
    polygons = [_polygon(rings, where, notes) for rings in rings_of_parts]
    with_area = [polygon for polygon in polygons if polygon is not None]
    if geometry.get("isEllipse") is True and len(with_area) == 1:
        return [_ellipse(with_area[0])]
    return with_area


def _collection_parts(geometry: dict[str, Any], where: str, notes: list[str]) -> list[Any]:
    members = geometry.get("geometries")
    if not isinstance(members, list):
        raise AnnotationError(
            f"{where}: a GeometryCollection without a list of geometries; "
            "delete it or export it again"
        )
    shapes: list[Any] = []
    for member in members:
        if isinstance(member, dict) and member.get("type") in ("Polygon", "MultiPolygon"):
            shapes += _parts(member, where, notes)
    if len(members) != len(shapes):
        notes.append(f"{where}: of a collection only its polygons are read")
    return shapes


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
    """Closed ring, float64 (n, 2); None when it has fewer than three different points."""
    is_list = isinstance(ring, list)
    if not is_list or not all(isinstance(point, list) and len(point) >= 2 for point in ring):
        raise AnnotationError(
            f"{where}: a ring that is no list of (x, y) points; delete it or export it again"
        )
    for point in () if _are_coordinates(ring) else ring:
        if not all(_is_coordinate(value) for value in point[:2]):
            place = ", ".join(map(quoted, point[:2]))
            raise AnnotationError(
                f"{where}: coordinate ({place}) is not a place on a slide; "
                "delete it or export it again"
            )
    points = [(float(point[0]), float(point[1])) for point in ring]
    if len(set(points[:_FEW_POINTS])) < 3 and len(set(points)) < 3:
        return None
    if points[0] != points[-1]:
        notes.append(f"{where}: open outline closed")
        points.append(points[0])
    return np.array(points)


def _are_coordinates(ring: list[list[Any]]) -> bool:
    """Whether all numbers of all points are coordinates: the fast way for nearly all rings."""
    values = list(chain.from_iterable(ring))
    return set(map(type, values)) <= {int, float} and all(
        abs(value) < _MAX_COORDINATE_PX for value in values
    )


def _is_coordinate(value: Any) -> bool:  # noqa: ANN401  # JSON
    # This comparison is false for NaN and works for whole numbers of any size.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(abs(value) < _MAX_COORDINATE_PX)


def _ellipse(polygon: Any) -> Any:  # noqa: ANN401  # shapely
    """The ellipse, where only its bounding box was written; QuPath usually writes the outline."""
    if shapely.get_num_coordinates(polygon) > _BOX_CORNERS + 1:
        return polygon
    left, top, right, bottom = polygon.bounds
    circle = shapely.Point(0, 0).buffer(1, quad_segs=_ELLIPSE_SEGMENTS)
    shape = shapely.affinity.scale(circle, (right - left) / 2, (bottom - top) / 2, origin=(0, 0))
    return shapely.affinity.translate(shape, (left + right) / 2, (top + bottom) / 2)
