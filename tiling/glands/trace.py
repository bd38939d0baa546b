"""Label image -> outlines: pixel edges, 4-connected tracing, exact area.

Objects are 8-connected but traced 4-connected, as a MultiPolygon when that gives several parts: an 8-connected trace would touch itself,
and QuPath refuses a whole file for one such ring.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.transform import Affine

from tiling.geometry import blocks

_LARGEST_PX = 64 * 2**20
_BLOCK_PX = 2048


class Window(NamedTuple):
    """The bounding window of one object: its row in the object table, and its pixels, bool (h, w), from stored pixel (y, x) on."""

    row: int
    y: int
    x: int
    inside: NDArray[np.bool_]


def windows(labels: Any, windows_px: NDArray[np.int64], *, block_px: int = _BLOCK_PX) -> Iterator[Window]:  # noqa: ANN401  # zarr or numpy array
    """Every object's pixels; a block of labels is read once for all objects that lie inside it.

    Parameters
    ----------
    labels : int (y, x), label i + 1 = row i
    windows_px : int64 (N, 4), y, x, h, w of each object's bounding window
    """
    ends = windows_px[:, :2] + windows_px[:, 2:] - 1
    home = windows_px[:, :2] // block_px
    alone = (home == ends // block_px).all(axis=1)
    for block in blocks(*labels.shape, block_px):
        here = np.flatnonzero((home[:, 0] == block[0].start // block_px) & (home[:, 1] == block[1].start // block_px))
        if not len(here):
            continue
        pixels = np.asarray(labels[block]) if alone[here].any() else None
        for row in here:
            y, x, h, w = (int(value) for value in windows_px[row])
            if pixels is not None and alone[row]:
                part = pixels[y - block[0].start :, x - block[1].start :][:h, :w]
            else:
                part = np.asarray(labels[y : y + h, x : x + w])
            yield Window(int(row), y, x, part == row + 1)


def outline(inside: NDArray[np.bool_], *, y: int = 0, x: int = 0) -> shapely.Polygon | shapely.MultiPolygon:
    """Outline of an object in pixel edges: (x, y) of the whole image when the array begins at its pixel (y, x).

    The area is the number of pixels; vertices are corners only; the form does not depend on how the object was cut.

    >>> outline(np.array([[1, 0], [1, 1]], bool)).area
    3.0
    """
    if inside.size > _LARGEST_PX:
        parts = [
            _traced(inside[block], y + block[0].start, x + block[1].start)
            for block in blocks(inside.shape[0], inside.shape[1], _BLOCK_PX)
            if inside[block].any()
        ]
        polygons = _polygons(_corners(shapely.union_all([polygon for part in parts for polygon in part])))
    else:
        polygons = _traced(inside, y, x)
    whole = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    return shapely.normalize(whole)


def _traced(inside: NDArray[np.bool_], y: int, x: int) -> list[shapely.Polygon]:
    found = shapes(inside.astype(np.uint8), mask=inside, connectivity=4, transform=Affine.translation(x, y))
    return [shapely.Polygon(geometry["coordinates"][0], geometry["coordinates"][1:]) for geometry, _ in found]


def _polygons(shape: Any) -> list[shapely.Polygon]:  # noqa: ANN401  # shapely has no types
    return [shape] if isinstance(shape, shapely.Polygon) else list(shape.geoms)


def _corners(shape: Any) -> Any:  # noqa: ANN401
    """The same rectilinear shape without vertices in the middle of an edge."""

    def ring(line: Any) -> NDArray[np.float64]:  # noqa: ANN401
        points = np.asarray(line.coords)[:-1]
        turns = ((points - np.roll(points, 1, 0)) * (np.roll(points, -1, 0) - points)).sum(axis=1) == 0
        return np.asarray(points[turns])

    cleaned = [shapely.Polygon(ring(part.exterior), [ring(hole) for hole in part.interiors]) for part in _polygons(shape)]
    return shapely.MultiPolygon(cleaned)
