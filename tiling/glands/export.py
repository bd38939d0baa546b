"""Glands -> GeoJSON that QuPath reads, and a table.

QuPath loses a whole file for one feature it does not like. What is written here: FeatureCollection, UUID ids that are the same
in every run, class with name and colour, measurements as an object of finite numbers, Polygon or MultiPolygon valid at QuPath's 0.01 px.
"""

import csv
import gzip
import io
import json
import math
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import shapely

from tiling.geometry import Geometry
from tiling.glands.measure import Measurements, mean_codes, measure
from tiling.glands.trace import outline, outlines
from tiling.store.arrays import geometry_of, open_array, open_store, read_table

_NAMESPACE = uuid.UUID("0a4a2f0e-8f4b-5c6e-9d7b-2f6f1c3b5a71")
_DECIMALS = 2  # QuPath snaps to 0.01 px
_COLUMNS = (*Measurements._fields, "mean_probability", "mean_disagreement", "touches_border")
_SHOWN = tuple(name.replace("_", " ") for name in _COLUMNS)
Origin = Literal["bounds", "slide"]
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
    origin: Origin = "bounds",
    object_type: ObjectType = "detection",
) -> int:
    """Write a slide's gland outlines and measurements; returns their number.

    Parameters
    ----------
    glands, maps : stores of the slide
    geojson : output; gzip when the name ends in .gz. Level-0 pixels of the viewer, pixel edges
    table : output csv, one row per gland
    origin : "bounds" subtracts the offset of the viewer's crop (openslide.bounds-*), as QuPath does
    object_type : detections are fast in QuPath, annotations can be edited
    """
    geometry = geometry_of(glands)
    objects = read_table(glands, "objects", ("first_px", "window_px", "touches_border"))
    labels = open_array(open_store(glands), "labels")
    means = mean_codes(labels, [open_array(open_store(maps), name) for name in ("gland", "disagreement")], len(objects["first_px"]))
    place = to_viewer(geometry, origin)
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    with ExitStack() as files:
        write = FeatureWriter(files.enter_context(appearing(geojson)), geometry, origin)
        rows = csv.writer(files.enter_context(appearing(table)), lineterminator="\n")
        rows.writerow(["id", "label", "centroid_x_level0", "centroid_y_level0", *_COLUMNS])
        for found in outlines(labels, objects["window_px"]):
            measured, centre = measure(found.shapes, geometry)
            columns = [*measured, *(mean[found.rows] for mean in means), objects["touches_border"][found.rows]]
            values = zip(*(column.tolist() for column in columns), strict=True)
            for row, shape, (x, y), numbers in zip(
                found.rows.tolist(), place(found.shapes), (centre * scale).tolist(), values, strict=True
            ):
                identity = gland_id(slide, int(objects["first_px"][row]))
                rounded = [_number(value) for value in numbers]
                measurements = dict(zip(_SHOWN, rounded, strict=True))
                write.feature(shape, identity, name=class_name, color=color, object_type=object_type, measurements=measurements)
                rows.writerow([identity, row + 1, f"{x:.2f}", f"{y:.2f}", *rounded])
        write.close()
    return len(objects["first_px"])


def gland_id(slide: str, first_px: int) -> str:
    """UUID of a gland: the same in every run that finds its first pixel at the same place."""
    return str(uuid.uuid5(_NAMESPACE, f"{slide}/{first_px}"))


def to_viewer(geometry: Geometry, origin: Origin) -> Callable[[Any], Any]:
    """Function that takes a shape from stored pixel edges to level-0 pixels of the viewer."""
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    offset = np.array([geometry.bounds_x, geometry.bounds_y]) if origin == "bounds" else np.zeros(2)
    return lambda shape: shapely.transform(shape, lambda points: np.round(points * scale - offset, _DECIMALS))


class FeatureWriter:
    """A FeatureCollection written feature by feature, in constant memory."""

    def __init__(self, text: IO[str], geometry: Geometry, origin: Origin) -> None:
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
        properties: dict[str, Any] = {"objectType": object_type, "classification": {"name": name, "color": list(color)}}
        if label:
            properties["name"] = label
        if measurements:
            properties["measurements"] = {key: _number(value) for key, value in measurements.items() if math.isfinite(value)}
        head = json.dumps({"type": "Feature", "id": identity, "properties": properties})
        self._text.write(f'{self._separator}{head[:-1]}, "geometry": {shapely.to_geojson(shape)}}}')
        self._separator = ",\n"

    def close(self) -> None:
        """End the collection."""
        self._text.write("\n]}\n")


def _number(value: float) -> float | int:
    return value if isinstance(value, int) else float(f"{value:.9g}")


@contextmanager
def appearing(path: Path) -> Iterator[IO[str]]:
    """Write a text file that appears when it is whole; gzip when the name ends in .gz, the same bytes for the same text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with ExitStack() as layers:
            raw: Any = layers.enter_context(partial.open("wb"))
            if path.suffix == ".gz":
                raw = layers.enter_context(gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename=""))
            yield layers.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def labels_to_geojson(labels: Path, out: Path, *, class_name: str = "Gland", color: tuple[int, int, int] = (200, 0, 0)) -> int:
    """Outlines of an instance label image at level 0 (TIFF, 0 = background) as QuPath annotations; returns their number.

    Raises
    ------
    AnnotationError
        Not a single-channel image of whole numbers.
    """
    import tifffile

    from tiling.errors import AnnotationError

    image = tifffile.imread(labels)
    if image.ndim != 2 or image.dtype.kind not in "ui":
        raise AnnotationError(
            f"{labels}: {image.dtype} {image.shape} is not a label image; give one channel of whole numbers, one per gland"
        )
    height, width = image.shape
    geometry = Geometry(width, height, width, height, 1.0, 1.0, 1.0, 1.0, 0, 0, width, height)
    with appearing(out) as text:
        write = FeatureWriter(text, geometry, "slide")
        count = 0
        for shape, number in _label_shapes(image):
            write.feature(shape, gland_id(labels.name, number), name=class_name, color=color, object_type="annotation")
            count += 1
        write.close()
    return count


def _label_shapes(image: Any) -> Iterator[tuple[Any, int]]:  # noqa: ANN401  # int array
    from scipy import ndimage

    numbers, compact = np.unique(image, return_inverse=True)
    compact = compact.reshape(image.shape) + (0 if numbers[0] == 0 else 1)
    kept = numbers[numbers != 0]
    for number, window in zip(kept, ndimage.find_objects(compact.astype(np.int32)), strict=True):
        yield outline(image[window] == number, y=window[0].start, x=window[1].start), int(number)
