"""Label image -> outlines: pixel edges, 4-connected tracing, exact area.

Objects are 8-connected but traced 4-connected, as a MultiPolygon when that gives several parts: an 8-connected trace would touch itself,
and QuPath refuses a whole file for one such ring.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.objects.rings import Rings, rings
from tiling.raster.geometry import blocks

_BAND_PX = 1024
_BLOCK_PX = 2048
_SMALL_PX = 1024
_LARGEST_PX = 64 * 2**20


class Outlines(NamedTuple):
    """Some objects of the table, in its order.

    Attributes
    ----------
    rows : int64 (n,), row of the object table; the label is one more
    shapes : object (n,), shapely Polygon or MultiPolygon in stored pixel edges, (x, y)
    """

    rows: NDArray[np.int64]
    shapes: NDArray[np.object_]


def outlines(
    labels: Any,  # noqa: ANN401  # zarr or numpy array
    windows_px: NDArray[np.int64],
    *,
    band_px: int = _BAND_PX,
    block_px: int = _BLOCK_PX,
    workers: int = 1,
) -> Iterator[Outlines]:
    """Outlines of all objects in the order of their labels, a band of rows at a time.

    The area of an outline is its object's number of pixels; vertices are corners only; the form depends on no block.
    Pixels are read once for all small objects that begin near each other; only objects larger than a block are read alone.

    Parameters
    ----------
    labels : int (y, x), label i + 1 = row i
    windows_px : int64 (N, 4), y, x, h, w of each object's bounding window, by first pixel
    band_px, block_px : height and width of the part in which objects that are read together begin
    workers : threads; the result does not depend on it
    """
    small = np.asarray((windows_px[:, 2:] <= _SMALL_PX).all(axis=1))
    band, column = windows_px[:, 0] // band_px, windows_px[:, 1] // block_px
    with ThreadPoolExecutor(workers) as pool:
        for number in np.unique(band):
            rows = np.flatnonzero(band == number)
            traced = np.empty(len(rows), object)
            together = [
                np.flatnonzero((column[rows] == block) & small[rows])
                for block in np.unique(column[rows][small[rows]])
            ]
            found = pool.map(
                lambda here, rows=rows: _traced_together(
                    labels, rows[here], windows_px[rows[here]]
                ),
                together,
            )
            for here, shapes in zip(together, found, strict=True):
                traced[here] = shapes
            for place in np.flatnonzero(~small[rows]):
                traced[place] = outline_of(labels, int(rows[place]), windows_px[rows[place]])
            yield Outlines(rows, traced)


def outline_of(
    labels: Any,  # noqa: ANN401
    row: int,
    window_px: NDArray[np.int64],
    *,
    largest_px: int = _LARGEST_PX,
    block_px: int = _BLOCK_PX,
) -> Any:  # noqa: ANN401  # arrays, shapely
    """Outline of one object; beyond `largest_px` traced block by block and united, exactly."""
    y, x, h, w = (int(value) for value in window_px)
    if h * w <= largest_px:
        return outline(np.asarray(labels[y : y + h, x : x + w]) == row + 1, y=y, x=x)
    parts = []
    for block in blocks(h, w, block_px):
        top, left = y + block[0].start, x + block[1].start
        inside = np.asarray(labels[top : y + block[0].stop, left : x + block[1].stop]) == row + 1
        if inside.any():
            parts.append(outline(inside, y=top, x=left))
    whole = [_corners(part) for part in shapely.get_parts(shapely.union_all(parts))]
    return shapely.normalize(whole[0] if len(whole) == 1 else shapely.MultiPolygon(whole))


def outline(
    inside: NDArray[np.bool_], *, y: int = 0, x: int = 0
) -> shapely.Polygon | shapely.MultiPolygon:
    """Outline of a mask in pixel edges: (x, y) of the whole image when the array begins at its pixel (y, x).

    >>> outline(np.array([[1, 0], [1, 1]], bool)).area
    3.0
    """
    return _outlines_of(rings(inside.astype(np.uint8)), y, x)[1][0]


def _traced_together(
    labels: Any,  # noqa: ANN401
    rows: NDArray[np.int64],
    windows_px: NDArray[np.int64],
) -> NDArray[np.object_]:  # zarr or numpy array
    """Outlines of objects that lie near each other: object (n,), in the order of `rows`."""
    y, x = (int(value) for value in windows_px[:, :2].min(axis=0))
    bottom, right = (int(value) for value in (windows_px[:, :2] + windows_px[:, 2:]).max(axis=0))
    pixels = np.asarray(labels[y:bottom, x:right])
    # Other objects may be cut by this part: only the rings of those wanted are made into outlines.
    found = rings(pixels)
    numbers, traced = _outlines_of(found.of(rows + 1), y, x)
    if len(numbers) != len(rows):
        raise ValueError(
            f"{len(rows)} objects in the table, {len(numbers)} in the labels near y {y}, x {x}; stitch the slide again"
        )
    return traced


def _outlines_of(found: Rings, y: int, x: int) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Numbers found, ascending, and the outline of each, moved by (x, y)."""
    if not len(found.label):
        return np.zeros(0, np.int64), np.zeros(0, object)
    index = np.repeat(np.arange(len(found.label)), found.length)
    lines = shapely.linearrings(found.points + np.array([x, y], np.float64), indices=index)
    label, polygon, hole = _polygons(found, index, lines)
    order = np.lexsort((hole, polygon))  # a polygon's contour, then its holes
    polygons = shapely.polygons(lines[order], indices=polygon[order])
    numbers, start, count = np.unique(label, return_index=True, return_counts=True)
    whole = polygons[start]
    for several in np.flatnonzero(count > 1):
        whole[several] = shapely.MultiPolygon(
            list(polygons[start[several] : start[several] + count[several]])
        )
    return numbers, np.asarray(shapely.normalize(whole), object)


def _polygons(
    found: Rings, index: NDArray[np.int64], lines: NDArray[np.object_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Label of each polygon, ascending; and of each ring, the polygon it belongs to and whether it is a hole.

    Parameters
    ----------
    index : ring of each point
    lines : the rings
    """
    after = np.arange(1, len(index) + 1)
    ends = np.cumsum(found.length)
    after[ends - 1] = ends - found.length
    x, y = found.points.T
    area = np.add.reduceat(x * y[after] - x[after] * y, ends - found.length)
    hole = area < 0
    contours = np.flatnonzero(~hole)
    contours = contours[np.argsort(found.label[contours], kind="stable")]
    label = found.label[contours]
    polygon = np.empty(len(hole), np.int64)
    polygon[contours] = np.arange(len(contours))
    first, stop = (
        np.searchsorted(label, found.label, side="left"),
        np.searchsorted(label, found.label, side="right"),
    )
    polygon[hole] = first[hole]
    for ring in np.flatnonzero(hole & (stop - first > 1)):
        # Of the contours around a hole, the smallest: one may lie in another's hole.
        among = np.arange(first[ring], stop[ring])
        around = among[
            shapely.covers(shapely.polygons(lines[contours[among]]), shapely.Polygon(lines[ring]))
        ]
        polygon[ring] = around[np.argmin(area[contours[around]])]
    return label, polygon, hole


def _corners(polygon: shapely.Polygon) -> shapely.Polygon:
    """The same rectilinear polygon without vertices in the middle of an edge."""

    def ring(line: Any) -> NDArray[np.float64]:  # noqa: ANN401  # shapely has no types
        points = np.asarray(line.coords)[:-1]
        turns = ((points - np.roll(points, 1, 0)) * (np.roll(points, -1, 0) - points)).sum(
            axis=1
        ) == 0
        return np.asarray(points[turns])

    return shapely.Polygon(ring(polygon.exterior), [ring(hole) for hole in polygon.interiors])
