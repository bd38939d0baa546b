"""Glands of a slide -> GeoJSON for QuPath, and a table of measurements."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.objects.measure import Measurements, mean_probabilities, measure
from tiling.objects.simplify import isolated_objects, simplify_outlines
from tiling.objects.smooth import junction_points, smooth_outlines
from tiling.objects.trace import Outlines, trace_objects
from tiling.qupath.geojson_writer import (
    DECIMALS,
    OutlineStyle,
    atomic_text_file,
    geojson_file,
    number_format,
    object_id,
    to_viewer_px,
)
from tiling.raster.geometry import CoordinateFrame, Geometry
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import geometry_of
from tiling.stores.shards import ShardReader

_DEFAULT_STYLE = OutlineStyle()
_COLUMNS = (*Measurements._fields, "mean_probability", "mean_disagreement", "touches_border")
_HEADER = ("id", "label", "centroid_x_level0", "centroid_y_level0", *_COLUMNS)
_MEASUREMENT_NAMES = tuple(name.replace("_", " ") for name in _COLUMNS)


class _Bounds(NamedTuple):
    """How far outlines may move, in stored pixels; 0: not at all."""

    smooth: float
    simplify: float


def export_glands(
    glands: Path,
    maps: Path,
    geojson: Path,
    table: Path,
    *,
    slide: str,
    style: OutlineStyle = _DEFAULT_STYLE,
    origin: CoordinateFrame = "bounds",
    workers: int = 1,
) -> int:
    """Write the gland outlines and measurements of a slide; returns the number of glands.

    Parameters
    ----------
    glands, maps : stores of the slide
    geojson : output, level-0 pixels of the viewer; gzip when the name ends in .gz
    table : output csv, one row per gland
    slide : its name, from which the ids of the glands are made
    style : class, colour and type of the objects, and how much outlines may move;
        measurements are those of the exact outlines
    origin : what the coordinates of the GeoJSON are relative to; "bounds" as in QuPath
    workers : threads; the files do not depend on it
    """
    geometry = geometry_of(glands)
    objects = read_table(glands, "objects", ("first_px", "window_px", "touches_border"))
    count = len(objects["first_px"])
    labels = ShardReader(open_array(open_store(glands), "labels"))
    maps_of_means = [
        ShardReader(open_array(open_store(maps), name)) for name in ("gland", "disagreement")
    ]
    means = mean_probabilities(labels, maps_of_means, count)
    px_um = max(geometry.mpp_x, geometry.mpp_y)
    bounds_px = _Bounds(style.smooth_um / px_um, style.simplify_um / px_um)
    place = to_viewer_px(geometry, origin)
    written_shapes = _shape_writer(place, labels, count, bounds_px)
    with ExitStack() as files:
        writer = files.enter_context(geojson_file(geojson, geometry, origin))
        csv = files.enter_context(atomic_text_file(table))
        csv.write(",".join(_HEADER) + "\n")
        for traced in trace_objects(labels, objects["window_px"], workers=workers):
            measured, centroids = measure(traced.shapes, geometry)
            columns = [
                *measured,
                *(mean[traced.rows] for mean in means),
                objects["touches_border"][traced.rows],
            ]
            first_px = objects["first_px"][traced.rows].tolist()
            identities = [object_id(slide, first) for first in first_px]
            writer.write_many(
                written_shapes(traced),
                identities,
                style,
                dict(zip(_MEASUREMENT_NAMES, columns, strict=True)),
                numbers=traced.rows + 1,
            )
            _write_rows(csv, identities, traced.rows, _level0(centroids, geometry), columns)
    return count


def _shape_writer(
    place: Callable[[Any], Any],
    labels: ShardReader,
    count: int,
    bounds_px: _Bounds,
) -> Callable[[Outlines], Any]:
    """Function that gives the shapes to write for some outlines, in level-0 pixels."""
    junctions = is_alone = None
    if bounds_px.smooth:
        junctions = junction_points(labels)
    if bounds_px.simplify:
        is_alone = isolated_objects(labels, count, bound_px=bounds_px.simplify)

    def written_shapes(traced: Outlines) -> Any:  # noqa: ANN401  # shapely has no types
        shapes = place(traced.shapes)
        if junctions is not None:
            shape_px = (labels.shape[0], labels.shape[1])
            smoothed = smooth_outlines(
                traced.shapes, junctions, shape_px, bound_px=bounds_px.smooth
            )
            smoothed = place(smoothed)
            shapes = np.where(shapely.is_valid(smoothed), smoothed, shapes)
        if is_alone is not None:
            fewer_corners = place(simplify_outlines(traced.shapes, bound_px=bounds_px.simplify))
            # Long slanted edges may cross each other after rounding.
            is_usable = is_alone[traced.rows] & shapely.is_valid(fewer_corners)
            # GEOS raises an exception for the precision of an invalid shape.
            usable = fewer_corners[is_usable]
            is_usable[is_usable] = shapely.is_valid(shapely.set_precision(usable, 10.0**-DECIMALS))
            shapes = np.where(is_usable, fewer_corners, shapes)
        return shapes

    return written_shapes


def _level0(centroids: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """Points (x, y) in level-0 pixels of the slide, from stored pixel edges."""
    return np.asarray(centroids * np.array([geometry.downsample_x, geometry.downsample_y]))


def _write_rows(
    csv: IO[str],
    identities: list[str],
    rows: NDArray[np.int64],
    centroids: NDArray[np.float64],
    columns: list[NDArray[Any]],
) -> None:
    """Write a row of the table for each gland; the columns are those of `_HEADER`."""
    line = ",".join(["%s,%d,%.2f,%.2f", *map(number_format, columns)]) + "\n"
    x, y = centroids.T.tolist()
    values = zip(
        identities,
        (rows + 1).tolist(),
        x,
        y,
        *(column.tolist() for column in columns),
        strict=True,
    )
    csv.writelines(line % value for value in values)
