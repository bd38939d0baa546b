"""Label image -> outlines along pixel edges, with the exact area of each object.

Objects are 8-connected, but their outlines are traced with 4-connectivity. If this gives several
parts, the outline is a MultiPolygon. An 8-connected outline would touch itself, and QuPath refuses
a whole file if one ring does so.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.objects.rings import Rings, find_rings
from tiling.raster.geometry import blocks

_BAND_PX = 1024
_BLOCK_PX = 2048
# Longest side of the window of an object that is read together with others.
_SMALL_PX = 1024
_MAX_WINDOW_AREA_PX = 64 * 2**20


class Outlines(NamedTuple):
    """Outlines of some objects of the table, in its order.

    Attributes
    ----------
    rows : int64 (n,), row of the object table; the label is one more
    shapes : object (n,), shapely Polygon or MultiPolygon in stored pixel edges, (x, y)
    """

    rows: NDArray[np.int64]
    shapes: NDArray[np.object_]


def trace_objects(
    labels: Any,  # noqa: ANN401  # zarr or numpy array
    windows_px: NDArray[np.int64],
    *,
    band_px: int = _BAND_PX,
    block_px: int = _BLOCK_PX,
    workers: int = 1,
) -> Iterator[Outlines]:
    """Outlines of all objects, from top to bottom in the order of their labels.

    The area of an outline is the number of pixels of its object. An outline has vertices at its
    corners only, and does not depend on the blocks. Small objects whose windows begin in the same
    block are read together; each larger object is read alone.

    Parameters
    ----------
    labels : int (y, x), label i + 1 = row i
    windows_px : int64 (N, 4), y, x, height, width of the bounding window of each object, in the
        order of first pixels
    band_px, block_px : height and width of the blocks
    workers : threads; the result does not depend on it

    Yields
    ------
    Outlines
        The objects whose windows begin in one band of rows.

    Raises
    ------
    ValueError
        An object of the table has no pixel in the labels.
    """
    is_small = np.asarray((windows_px[:, 2:] <= _SMALL_PX).all(axis=1))
    band, column = windows_px[:, 0] // band_px, windows_px[:, 1] // block_px
    with ThreadPoolExecutor(workers) as pool:
        for number in np.unique(band):
            rows = np.flatnonzero(band == number)
            shapes = np.empty(len(rows), object)
            # Each group: positions in `rows` of the small objects of one block.
            groups = [
                np.flatnonzero((column[rows] == block) & is_small[rows])
                for block in np.unique(column[rows][is_small[rows]])
            ]
            traced_groups = pool.map(
                lambda group, rows=rows: _trace_group(labels, rows[group], windows_px[rows[group]]),
                groups,
            )
            for group, traced in zip(groups, traced_groups, strict=True):
                shapes[group] = traced
            for index in np.flatnonzero(~is_small[rows]):
                shapes[index] = trace_object(labels, int(rows[index]), windows_px[rows[index]])
            yield Outlines(rows, shapes)


def trace_object(
    labels: Any,  # noqa: ANN401
    row: int,
    window_px: NDArray[np.int64],
    *,
    max_window_area_px: int = _MAX_WINDOW_AREA_PX,
    block_px: int = _BLOCK_PX,
) -> Any:  # noqa: ANN401  # arrays, shapely
    """Outline of one object: shapely Polygon or MultiPolygon in stored pixel edges, (x, y).

    Parameters
    ----------
    labels : int (y, x), label i + 1 = row i
    row : row of the object
    window_px : int64 (4,), its bounding window: y, x, height, width
    max_window_area_px : an object with a larger window is traced block by block, and the outlines
        of the blocks are united; the result is the same
    block_px : side of these blocks
    """
    y, x, height, width = (int(value) for value in window_px)
    if height * width <= max_window_area_px:
        inside = np.asarray(labels[y : y + height, x : x + width]) == row + 1
        return trace_mask(inside, y=y, x=x)
    block_shapes = []
    for block in blocks(height, width, block_px):
        top, left = y + block[0].start, x + block[1].start
        inside = np.asarray(labels[top : y + block[0].stop, left : x + block[1].stop]) == row + 1
        if inside.any():
            block_shapes.append(trace_mask(inside, y=top, x=left))
    parts = [_keep_corners(part) for part in shapely.get_parts(shapely.union_all(block_shapes))]
    return shapely.normalize(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts))


def trace_mask(
    inside: NDArray[np.bool_], *, y: int = 0, x: int = 0
) -> shapely.Polygon | shapely.MultiPolygon:
    """Outline of a mask in pixel edges.

    Parameters
    ----------
    inside : bool (h, w), at least one pixel is True
    y, x : first pixel of the array in the image; the outline has the coordinates of the image

    >>> trace_mask(np.array([[1, 0], [1, 1]], bool)).area
    3.0
    """
    return _join_rings(find_rings(inside.astype(np.uint8)), y, x)[1][0]


def _trace_group(
    labels: Any,  # noqa: ANN401  # zarr or numpy array
    rows: NDArray[np.int64],
    windows_px: NDArray[np.int64],
) -> NDArray[np.object_]:
    """Outlines of objects that are close together: object (n,), in the order of `rows`."""
    y, x = (int(value) for value in windows_px[:, :2].min(axis=0))
    bottom, right = (int(value) for value in (windows_px[:, :2] + windows_px[:, 2:]).max(axis=0))
    pixels = np.asarray(labels[y:bottom, x:right])
    # This part of the labels may contain incomplete other objects: their rings are left out.
    traced_labels, shapes = _join_rings(find_rings(pixels).with_labels(rows + 1), y, x)
    if len(traced_labels) != len(rows):
        raise ValueError(
            f"{len(rows)} objects in the table, {len(traced_labels)} in the labels near "
            f"y {y}, x {x}; stitch the slide again"
        )
    return shapes


def _join_rings(rings: Rings, y: int, x: int) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Labels of the rings, each once, ascending; and the outline of each, moved by (x, y)."""
    if not len(rings.label):
        return np.zeros(0, np.int64), np.zeros(0, object)
    ring_of_point = np.repeat(np.arange(len(rings.label)), rings.point_count)
    points = rings.points + np.array([x, y], np.float64)
    lines = shapely.linearrings(points, indices=ring_of_point)
    label, polygon, is_hole = _group_by_polygon(rings, lines)
    order = np.lexsort((is_hole, polygon))  # the outer contour of a polygon, then its holes
    polygons = shapely.polygons(lines[order], indices=polygon[order])
    labels, start, count = np.unique(label, return_index=True, return_counts=True)
    shapes = polygons[start]
    for index in np.flatnonzero(count > 1):
        parts = polygons[start[index] : start[index] + count[index]]
        shapes[index] = shapely.MultiPolygon(list(parts))
    return labels, np.asarray(shapely.normalize(shapes), object)


def _group_by_polygon(
    rings: Rings, lines: NDArray[np.object_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Find the polygon of each ring.

    Parameters
    ----------
    lines : object (r,), the rings as shapely LinearRing

    Returns
    -------
    label : int64 (p,), object of each polygon, ascending
    polygon : int64 (r,), polygon that each ring belongs to
    is_hole : bool (r,), whether a ring is a hole of its polygon
    """
    ends = np.cumsum(rings.point_count)
    starts = ends - rings.point_count
    next_point = np.arange(1, len(rings.points) + 1)
    next_point[ends - 1] = starts
    x, y = rings.points.T
    # Twice the area by the shoelace formula; holes run the other way round and are negative.
    area = np.add.reduceat(x * y[next_point] - x[next_point] * y, starts)
    is_hole = area < 0
    contours = np.flatnonzero(~is_hole)
    contours = contours[np.argsort(rings.label[contours], kind="stable")]
    label = rings.label[contours]
    polygon = np.empty(len(is_hole), np.int64)
    polygon[contours] = np.arange(len(contours))
    first = np.searchsorted(label, rings.label, side="left")
    stop = np.searchsorted(label, rings.label, side="right")
    polygon[is_hole] = first[is_hole]
    for ring in np.flatnonzero(is_hole & (stop - first > 1)):
        # A part of an object may lie in a hole of another part. The polygon of a hole is the
        # smallest one whose outer contour surrounds it.
        candidates = np.arange(first[ring], stop[ring])
        surrounds_hole = shapely.covers(
            shapely.polygons(lines[contours[candidates]]), shapely.Polygon(lines[ring])
        )
        surrounding = candidates[surrounds_hole]
        polygon[ring] = surrounding[np.argmin(area[contours[surrounding]])]
    return label, polygon, is_hole


def _keep_corners(polygon: shapely.Polygon) -> shapely.Polygon:
    """The same rectilinear polygon without vertices in the middle of an edge."""

    def corners(line: Any) -> NDArray[np.float64]:  # noqa: ANN401  # shapely has no types
        points = np.asarray(line.coords)[:-1]
        before = points - np.roll(points, 1, axis=0)
        after = np.roll(points, -1, axis=0) - points
        return np.asarray(points[(before * after).sum(axis=1) == 0])

    return shapely.Polygon(corners(polygon.exterior), [corners(hole) for hole in polygon.interiors])
