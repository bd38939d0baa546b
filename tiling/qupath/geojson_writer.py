"""Outlines -> GeoJSON that QuPath reads.

QuPath refuses a whole file for one feature that it cannot read. Therefore the files here have: one
FeatureCollection, UUID ids that are the same in every run, a class with name and colour,
measurements as an object of finite numbers, and polygons that are valid at QuPath's 0.01 px.
"""

import gzip
import io
import json
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NotRequired, TypedDict

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.qupath.class_names import GLAND
from tiling.raster.atomic_files import partial_file
from tiling.raster.geometry import CoordinateFrame, Geometry

# Level 5 leaves 0.129 of the bytes of outlines. The usual level 9 leaves 0.123 and takes 20 times
# as long.
_GZIP_LEVEL = 5
_ID_NAMESPACE = uuid.UUID("0a4a2f0e-8f4b-5c6e-9d7b-2f6f1c3b5a71")
DECIMALS = 2  # QuPath rounds to 0.01 px
GLAND_COLOUR = (200, 0, 0)
ObjectType = Literal["detection", "annotation"]


class _Classification(TypedDict):
    """JSON of the class of an object."""

    name: str
    color: list[int]


class _FeatureProperties(TypedDict):
    """JSON of the member `properties` of a feature."""

    objectType: ObjectType
    classification: _Classification
    name: NotRequired[str]
    measurements: NotRequired[dict[str, float]]


@dataclass(frozen=True)
class OutlineStyle:
    """How outlines appear in QuPath.

    Attributes
    ----------
    class_name : class of the objects
    colour : of the class, RGB, 0..255
    object_type : detections are fast in QuPath, annotations can be edited
    smooth_um : outlines may move this far to lose the steps of pixels, but less than half a pixel
    simplify_um : the outline of a gland that touches no other may move this far to lose corners
    """

    class_name: str = GLAND
    colour: tuple[int, int, int] = GLAND_COLOUR
    object_type: ObjectType = "detection"
    smooth_um: float = 0
    simplify_um: float = 0

    @property
    def properties(self) -> _FeatureProperties:
        """`properties` of a feature of this style."""
        return {
            "objectType": self.object_type,
            "classification": {"name": self.class_name, "color": list(self.colour)},
        }


class GeoJsonWriter:
    """Writes a FeatureCollection feature by feature, in constant memory; see `geojson_file`."""

    def __init__(self, text: IO[str], geometry: Geometry, origin: CoordinateFrame) -> None:
        width, height = geometry.viewer_size(origin)
        # QuPath does not read this member. It allows a check that the file belongs to a slide.
        viewer = json.dumps({"width": width, "height": height, "origin": origin})
        self._text = text
        self._separator = "\n"
        text.write(f'{{"type": "FeatureCollection", "viewer": {viewer}, "features": [')

    def write(
        self,
        shape: Any,  # noqa: ANN401  # shapely has no types
        identity: str,
        style: OutlineStyle,
        *,
        name: str | None = None,
        measurements: dict[str, float] | None = None,
    ) -> None:
        """Write one object; measurements that are not finite are left out.

        Parameters
        ----------
        shape : polygon, level-0 pixels of the viewer
        identity : UUID
        style : its class, colour and type
        name : shown in QuPath
        measurements : by name
        """
        properties = style.properties
        if name:
            properties["name"] = name
        if measurements:
            properties["measurements"] = {
                key: float(f"{value:.9g}")
                for key, value in measurements.items()
                if math.isfinite(value)
            }
        head = json.dumps({"type": "Feature", "id": identity, "properties": properties})
        self._text.write(f'{self._separator}{head[:-1]}, "geometry": {shapely.to_geojson(shape)}}}')
        self._separator = ",\n"

    def write_many(
        self,
        shapes: Any,  # noqa: ANN401  # shapely has no types
        identities: Sequence[str],
        style: OutlineStyle,
        measurements: dict[str, NDArray[Any]],
        *,
        numbers: NDArray[np.int64] | None = None,
    ) -> None:
        """Write many objects of one style; all measurements are finite.

        Parameters
        ----------
        shapes : object (n,), polygons, level-0 pixels of the viewer
        identities : n UUIDs
        style : their class, colour and type
        measurements : columns of length n, by name
        numbers : int64 (n,), numbers of the glands; their names are "gland 1", ...
        """
        properties = json.dumps(style.properties)
        name = "" if numbers is None else ', "name": "gland %d"'
        columns = list(measurements.values())
        formats = ", ".join(
            f"{json.dumps(key)}: {number_format(column)}" for key, column in measurements.items()
        )
        # One template for all objects: a dict and a JSON encoder for each object would take several
        # times as long.
        template = (
            '{"type": "Feature", "id": "%s", "properties": '
            + properties[:-1].replace("%", "%%")
            + name
            + ', "measurements": {'
            + formats
            + '}}, "geometry": %s}'
        )
        rows = zip(
            identities,
            *([] if numbers is None else [numbers.tolist()]),
            *(column.tolist() for column in columns),
            shapely.to_geojson(shapes),
            strict=True,
        )
        for row in rows:
            self._text.write(self._separator + template % row)
            self._separator = ",\n"

    def close(self) -> None:
        """End the collection."""
        self._text.write("\n]}\n")


@contextmanager
def geojson_file(
    path: Path, geometry: Geometry, origin: CoordinateFrame
) -> Iterator[GeoJsonWriter]:
    """A GeoJSON file that appears when it is complete; gzip when its name ends in .gz.

    Parameters
    ----------
    path : file to write
    geometry : of the slide, gives the size that the file records
    origin : what the coordinates are relative to
    """
    with atomic_text_file(path) as text:
        writer = GeoJsonWriter(text, geometry, origin)
        yield writer
        writer.close()


@contextmanager
def atomic_text_file(path: Path) -> Iterator[IO[str]]:
    """A text file that appears when it is complete; gzip when its name ends in .gz.

    The same text gives the same bytes.
    """
    with partial_file(path) as partial, ExitStack() as layers:
        raw: Any = layers.enter_context(partial.open("wb"))
        if path.suffix == ".gz":
            raw = layers.enter_context(
                gzip.GzipFile(
                    fileobj=raw, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0, filename=""
                )
            )
        yield layers.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


def object_id(slide: str, first_px: int) -> str:
    """UUID (version 5) of an object: the same in every run in which its first pixel is the same."""
    return str(uuid.uuid5(_ID_NAMESPACE, f"{slide}/{first_px}"))


def to_viewer_px(geometry: Geometry, origin: CoordinateFrame) -> Callable[[Any], Any]:
    """Function that moves a shape from stored pixel edges to level-0 pixels of the viewer."""
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    offset = np.array(geometry.viewer_offset(origin), np.float64)

    def moved(shape: Any) -> Any:  # noqa: ANN401  # shapely has no types
        return shapely.transform(shape, lambda points: np.round(points * scale - offset, DECIMALS))

    return moved


def number_format(column: NDArray[Any]) -> str:
    """How numbers of a column are written, in GeoJSON and in csv."""
    return "%.9g" if column.dtype.kind == "f" else "%d"
