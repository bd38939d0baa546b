"""Glands -> GeoJSON that QuPath reads, and a table.

QuPath loses a whole file for one feature it does not like. What is written here: FeatureCollection, UUID ids that are the same
in every run, class with name and colour, measurements as an object of finite numbers, Polygon or MultiPolygon valid at QuPath's 0.01 px.
"""

import gzip
import io
import json
import math
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.objects.components import Seen, merge, seen
from tiling.objects.measure import Measurements, mean_codes, measure
from tiling.objects.runs import runs
from tiling.objects.simplify import alone, simplified
from tiling.objects.trace import Outlines, outlines
from tiling.raster.geometry import CoordinateFrame, Geometry, blocks
from tiling.stores.arrays import SHARD_PX, open_array, open_store, read_table
from tiling.stores.attributes import geometry_of
from tiling.stores.shards import ShardReader

_GZIP_LEVEL = 5  # of outlines, 0.129 of the bytes are left; the usual 9 leaves 0.123 and takes 20 times as long
_NAMESPACE = uuid.UUID("0a4a2f0e-8f4b-5c6e-9d7b-2f6f1c3b5a71")
_DECIMALS = 2  # QuPath snaps to 0.01 px
_COLUMNS = (*Measurements._fields, "mean_probability", "mean_disagreement", "touches_border")
_SHOWN = tuple(name.replace("_", " ") for name in _COLUMNS)
ObjectType = Literal["detection", "annotation"]


def export_glands(
    glands: Path,
    maps: Path,
    geojson: Path,
    table: Path,
    *,
    slide: str,
    class_name: str = "Gland",
    color: tuple[int, int, int] = (200, 0, 0),
    origin: CoordinateFrame = "bounds",
    object_type: ObjectType = "detection",
    simplify_um: float = 0,
    workers: int = 1,
) -> int:
    """Write a slide's gland outlines and measurements; returns their number.

    Parameters
    ----------
    glands, maps : stores of the slide
    geojson : output; gzip when the name ends in .gz. Level-0 pixels of the viewer, pixel edges
    table : output csv, one row per gland
    origin : "bounds" subtracts the offset of the viewer's crop (openslide.bounds-*), as QuPath does
    object_type : detections are fast in QuPath, annotations can be edited
    simplify_um : outlines of glands that have room may move this far to lose corners; measurements are those of the exact outline
    workers : threads; the files do not depend on it
    """
    geometry = geometry_of(glands)
    objects = read_table(glands, "objects", ("first_px", "window_px", "touches_border"))
    labels = ShardReader(open_array(open_store(glands), "labels"))
    codes = [ShardReader(open_array(open_store(maps), name)) for name in ("gland", "disagreement")]
    means = mean_codes(labels, codes, len(objects["first_px"]))
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    shown = _shown(
        geometry,
        origin,
        labels,
        len(objects["first_px"]),
        simplify_um / max(geometry.mpp_x, geometry.mpp_y),
    )
    with ExitStack() as files:
        write = FeatureWriter(files.enter_context(appearing(geojson)), geometry, origin)
        rows = files.enter_context(appearing(table))
        rows.write(
            ",".join(["id", "label", "centroid_x_level0", "centroid_y_level0", *_COLUMNS]) + "\n"
        )
        for found in outlines(labels, objects["window_px"], workers=workers):
            measured, centre = measure(found.shapes, geometry)
            columns = [
                *measured,
                *(mean[found.rows] for mean in means),
                objects["touches_border"][found.rows],
            ]
            identities = [
                gland_id(slide, first) for first in objects["first_px"][found.rows].tolist()
            ]
            write.features(
                shown(found),
                identities,
                name=class_name,
                color=color,
                object_type=object_type,
                measurements=dict(zip(_SHOWN, columns, strict=True)),
            )
            line = ",".join(["%s,%d,%.2f,%.2f", *map(_format, columns)]) + "\n"
            x, y = (centre * scale).T.tolist()
            values = zip(
                identities,
                (found.rows + 1).tolist(),
                x,
                y,
                *(column.tolist() for column in columns),
                strict=True,
            )
            rows.writelines(line % value for value in values)
        write.close()
    return len(objects["first_px"])


def _shown(
    geometry: Geometry,
    origin: CoordinateFrame,
    labels: Any,  # noqa: ANN401
    count: int,
    bound_px: float,
) -> Callable[[Outlines], Any]:  # zarr array, shapely
    """Function that takes outlines to what is written of them."""
    place = to_viewer(geometry, origin)
    if not bound_px:
        return lambda found: place(found.shapes)
    room = alone(labels, count, bound_px=bound_px)

    def shown(found: Outlines) -> Any:  # noqa: ANN401  # shapely has no types
        exact = place(found.shapes)
        fewer = place(simplified(found.shapes, bound_px=bound_px))
        # Slanted edges, rounded, may cross where straight ones do not.
        good = room[found.rows] & shapely.is_valid(fewer)
        # Of what is not valid GEOS makes an exception, not a result.
        good[good] = shapely.is_valid(shapely.set_precision(fewer[good], 10.0**-_DECIMALS))
        return np.where(good, fewer, exact)

    return shown


def gland_id(slide: str, first_px: int) -> str:
    """UUID of a gland: the same in every run that finds its first pixel at the same place."""
    return str(uuid.uuid5(_NAMESPACE, f"{slide}/{first_px}"))


def to_viewer(geometry: Geometry, origin: CoordinateFrame) -> Callable[[Any], Any]:
    """Function that takes a shape from stored pixel edges to level-0 pixels of the viewer."""
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    offset = np.array([geometry.bounds_x, geometry.bounds_y]) if origin == "bounds" else np.zeros(2)
    return lambda shape: shapely.transform(
        shape, lambda points: np.round(points * scale - offset, _DECIMALS)
    )


class FeatureWriter:
    """A FeatureCollection written feature by feature, in constant memory."""

    def __init__(self, text: IO[str], geometry: Geometry, origin: CoordinateFrame) -> None:
        whole = origin == "slide"
        # A member that QuPath does not read: a mismatch of slides can be noticed.
        viewer = {
            "width": geometry.slide_width_px if whole else geometry.bounds_width_px,
            "height": geometry.slide_height_px if whole else geometry.bounds_height_px,
            "origin": origin,
        }
        self._text = text
        self._separator = "\n"
        text.write(f'{{"type": "FeatureCollection", "viewer": {json.dumps(viewer)}, "features": [')

    def feature(
        self,
        shape: Any,  # noqa: ANN401  # shapely has no types
        identity: str,
        *,
        name: str,
        color: tuple[int, int, int],
        object_type: ObjectType,
        measurements: dict[str, float] | None = None,
        label: str | None = None,
    ) -> None:
        """Write one object; numbers that are not finite are left out of its measurements."""
        properties: dict[str, Any] = {
            "objectType": object_type,
            "classification": {"name": name, "color": list(color)},
        }
        if label:
            properties["name"] = label
        if measurements:
            properties["measurements"] = {
                key: float(f"{value:.9g}")
                for key, value in measurements.items()
                if math.isfinite(value)
            }
        head = json.dumps({"type": "Feature", "id": identity, "properties": properties})
        self._text.write(f'{self._separator}{head[:-1]}, "geometry": {shapely.to_geojson(shape)}}}')
        self._separator = ",\n"

    def features(
        self,
        shapes: Any,  # noqa: ANN401  # shapely has no types
        identities: Sequence[str],
        *,
        name: str,
        color: tuple[int, int, int],
        object_type: ObjectType,
        measurements: dict[str, NDArray[Any]],
    ) -> None:
        """Write many objects of one class; all numbers are finite.

        Parameters
        ----------
        shapes : object (n,), polygons
        identities : n UUIDs
        measurements : columns of length n
        """
        kind = json.dumps(
            {"objectType": object_type, "classification": {"name": name, "color": list(color)}}
        )
        keys = ", ".join(
            f"{json.dumps(key)}: {_format(column)}" for key, column in measurements.items()
        )
        # Numbers and outlines are put into one text per object: a dict and an encoder for each would cost several times as much.
        head = (
            '{"type": "Feature", "id": "%s", "properties": '
            + kind[:-1].replace("%", "%%")
            + ', "measurements": {'
            + keys
            + "}}"
        )
        values = zip(
            identities,
            *(column.tolist() for column in measurements.values()),
            shapely.to_geojson(shapes),
            strict=True,
        )
        for value in values:
            self._text.write(self._separator + (head + ', "geometry": %s}') % value)
            self._separator = ",\n"

    def close(self) -> None:
        """End the collection."""
        self._text.write("\n]}\n")


def _format(column: NDArray[Any]) -> str:
    """How numbers of a column are written: JSON and csv alike."""
    return "%.9g" if column.dtype.kind == "f" else "%d"


@contextmanager
def appearing(path: Path) -> Iterator[IO[str]]:
    """Write a text file that appears when it is whole; gzip when the name ends in .gz, the same bytes for the same text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with ExitStack() as layers:
            raw: Any = layers.enter_context(partial.open("wb"))
            if path.suffix == ".gz":
                raw = layers.enter_context(
                    gzip.GzipFile(
                        fileobj=raw, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0, filename=""
                    )
                )
            yield layers.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def labels_to_geojson(
    labels: Path, out: Path, *, class_name: str = "Gland", color: tuple[int, int, int] = (200, 0, 0)
) -> int:
    """Outlines of an instance label image at level 0 (TIFF, 0 = background) as QuPath annotations; returns their number.

    Read block by block; objects are written by first pixel.

    Raises
    ------
    AnnotationError
        Not a readable single-channel image of whole numbers from 0.
    """
    from tiling.qupath.mask_images import opened_image
    from tiling.slide_errors import AnnotationError

    with opened_image(labels) as image:
        if len(image.shape) != 2 or image.dtype.kind not in "ui":
            raise AnnotationError(
                f"{labels}: {image.dtype} {tuple(image.shape)} is not a label image; give one channel of whole numbers, one per gland"
            )
        height, width = image.shape
        geometry = Geometry.uniform(width, height)
        numbered = _Numbered(image)
        if numbered.values.min(initial=0) < 0:
            raise AnnotationError(
                f"{labels}: negative numbers in it; give one positive whole number per gland, 0 for background"
            )
        with appearing(out) as text:
            write = FeatureWriter(text, geometry, "slide")
            for found in outlines(numbered, numbered.windows_px):
                for row, shape in zip(found.rows.tolist(), found.shapes, strict=True):
                    identity = gland_id(labels.name, int(numbered.first_px[row]))
                    write.feature(
                        shape, identity, name=class_name, color=color, object_type="annotation"
                    )
            write.close()
    return len(numbered.first_px)


class _Numbered:
    """A label image with any numbers as labels 1..N by first pixel.

    Attributes
    ----------
    values : int64 (N,), numbers of the image, ascending
    first_px, windows_px : int64 (N,), (N, 4) as in the object table
    """

    def __init__(self, image: Any) -> None:  # noqa: ANN401  # numpy or zarr array
        self._image, self.shape = image, tuple(image.shape)
        height, width = self.shape
        parts: list[tuple[NDArray[np.int64], Seen]] = []
        found: dict[int, int] = {}
        for block in blocks(height, width, SHARD_PX):
            pixels = np.asarray(image[block]).astype(np.int64)
            values = np.unique(pixels)
            values = values[values != 0]
            local = np.where(pixels != 0, np.searchsorted(values, pixels) + 1, 0).astype(np.int32)
            objects = np.array(
                [found.setdefault(value, len(found) + 1) for value in values.tolist()], np.int64
            )
            parts.append((objects, seen(runs(local), len(values), block, width)))
        whole = merge(parts, len(found))
        order = np.argsort(whole.first_px)
        number = np.empty(len(order), np.int32)
        number[order] = np.arange(1, len(order) + 1)
        known = np.fromiter(found, np.int64, len(found))
        self.values = np.sort(known)
        self._labels = np.concatenate([[0], number[np.argsort(known)]]).astype(np.int32)
        self.first_px = whole.first_px[order]
        top, left, bottom, right = whole.box_px[order].T
        self.windows_px = np.stack([top, left, bottom - top, right - left], axis=1)

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[np.int32]:
        pixels = np.asarray(self._image[window]).astype(np.int64)
        return self._labels[np.where(pixels != 0, np.searchsorted(self.values, pixels) + 1, 0)]
