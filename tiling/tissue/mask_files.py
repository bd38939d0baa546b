"""Files by which a person replaces or restricts the tissue of a slide."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tiling.raster.atomic_files import file_checksum
from tiling.raster.geometry import CoordinateFrame, Geometry
from tiling.slide_errors import SlideError
from tiling.slides.read_errors import FileReadError, file_read_errors

_GEOJSON_ENDINGS = (".geojson", ".json")


@dataclass(frozen=True)
class MaskFiles:
    """Files by which a person replaces or restricts the tissue of a slide.

    Attributes
    ----------
    tissue, roi : GeoJSON of polygons (x, y in level-0 pixels), or a mask image of the whole slide;
        `tissue` replaces the tissue that is found, `roi` restricts it
    origin : where the coordinates of GeoJSON start
    """

    tissue: Path | None = None
    roi: Path | None = None
    origin: CoordinateFrame = "bounds"

    def checksums(self) -> dict[str, str]:
        """Checksums of the files, by the names "tissue" and "roi".

        Raises
        ------
        SlideError
            A file is missing.
        """
        files = {"tissue": self.tissue, "roi": self.roi}
        return {name: _checksum(path) for name, path in files.items() if path is not None}

    def apply(self, detected: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
        """The detected tissue, replaced or restricted by the files.

        Parameters
        ----------
        detected : bool (height_px, width_px)
        geometry : of the mask

        Raises
        ------
        SlideError
            See `mask_from_file`.
        """
        tissue = detected
        if self.tissue is not None:
            tissue = mask_from_file(self.tissue, geometry, origin=self.origin)
        if self.roi is not None:
            tissue = tissue & mask_from_file(self.roi, geometry, origin=self.origin)
        return tissue


NO_MASKS = MaskFiles()


def _checksum(path: Path) -> str:
    try:
        return file_checksum(path)
    except FileNotFoundError:
        raise _missing(path) from None


def _missing(path: Path) -> SlideError:
    return SlideError(
        f"{path}: no such file; correct the path (in a sheet: columns 'tissue', 'roi')"
    )


def mask_from_file(path: Path, geometry: Geometry, *, origin: CoordinateFrame) -> NDArray[np.bool_]:
    """A mask from GeoJSON polygons or from an image of the whole slide (0 = outside).

    Parameters
    ----------
    path : .geojson, .json, or an image
    geometry : of the mask
    origin : where the coordinates of GeoJSON start

    Returns
    -------
    ndarray
        bool (height_px, width_px)

    Raises
    ------
    SlideError
        Not readable, without polygons, or an image with other proportions than the slide.
    """
    try:
        with file_read_errors():
            if path.suffix.lower() in _GEOJSON_ENDINGS:
                content = json.loads(path.read_text(encoding="utf-8-sig"))
            else:
                with PIL.Image.open(path) as image:
                    content = np.asarray(image)
    except FileNotFoundError:
        raise _missing(path) from None
    except FileReadError as error:
        raise SlideError(f"{path}: neither GeoJSON nor a mask image ({error})") from error
    if path.suffix.lower() in _GEOJSON_ENDINGS:
        return _rasterise(path, list(_geometries(content)), geometry, origin)
    return _resample(path, content, geometry)


def _geometries(content: object) -> Iterator[Mapping[str, Any]]:
    """Geometries in a GeoJSON list, collection, feature or bare geometry."""
    if isinstance(content, list):
        for part in content:
            yield from _geometries(part)
    elif isinstance(content, dict):
        for key in ("features", "geometries", "geometry"):
            if key in content:
                yield from _geometries(content[key])
                return
        yield content


def _rasterise(
    path: Path,
    geometries: list[Mapping[str, Any]],
    geometry: Geometry,
    origin: CoordinateFrame,
) -> NDArray[np.bool_]:
    """The pixels whose centre lies in a polygon."""
    import rasterio.features
    from rasterio.transform import Affine

    polygons = [shape for shape in geometries if shape.get("type") in ("Polygon", "MultiPolygon")]
    if not polygons:
        raise SlideError(
            f"{path}: no polygon in it; draw the area as a closed shape and export it again"
        )
    for number, polygon in enumerate(polygons, start=1):
        if not _has_finite_rings(polygon):
            raise SlideError(
                f"{path}: polygon {number} has coordinates that cannot be read; "
                "draw it again and export the file"
            )
    left, top = geometry.viewer_offset(origin)
    to_coordinates = Affine(geometry.downsample_x, 0, -left, 0, geometry.downsample_y, -top)
    try:
        mask = rasterio.features.rasterize(
            polygons,
            out_shape=(geometry.height_px, geometry.width_px),
            transform=to_coordinates,
            default_value=1,
            dtype=np.uint8,
        )
    except (ValueError, TypeError) as error:
        raise SlideError(f"{path}: a polygon cannot be read ({error})") from error
    return np.asarray(mask, bool)


def _has_finite_rings(polygon: Mapping[str, Any]) -> bool:
    """Whether the rings of a polygon are lists of finite points.

    rasterio skips other polygons without an error, and the slide would have no tissue.
    """
    import shapely.geometry

    try:
        area = shapely.geometry.shape(polygon)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError):
        return False
    return not area.is_empty and bool(np.isfinite(area.bounds).all())


def _resample(path: Path, image: NDArray[Any], geometry: Geometry) -> NDArray[np.bool_]:
    """The nearest pixels of a mask image that is stretched over the slide."""
    inside = np.asarray(image != 0)
    if image.ndim == 3:
        inside = np.asarray(inside.any(axis=-1))
    height, width = inside.shape
    slide_width, slide_height = geometry.slide_width_px, geometry.slide_height_px
    slide_ratio = slide_width / slide_height
    # The sides of a mask at 1/64 are rounded by up to one pixel. With a larger difference it is an
    # image of something else.
    tolerance = (1 + 1.5 / width) * (1 + 1.5 / height)
    if not slide_ratio / tolerance <= width / height <= slide_ratio * tolerance:
        raise SlideError(
            f"{path}: {width} x {height} px does not have the proportions of the slide "
            f"({slide_width} x {slide_height})"
        )
    centres_y = (np.arange(geometry.height_px) + 0.5) * geometry.downsample_y
    centres_x = (np.arange(geometry.width_px) + 0.5) * geometry.downsample_x
    rows = (centres_y / slide_height * height).astype(np.int64)
    columns = (centres_x / slide_width * width).astype(np.int64)
    # The last stored pixel may have its centre beyond the slide.
    rows, columns = np.minimum(rows, height - 1), np.minimum(columns, width - 1)
    return np.asarray(inside[np.ix_(rows, columns)], bool)
