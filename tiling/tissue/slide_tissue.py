"""Tissue and pen of an open slide on a coarse grid, found by colour or given by a file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tiling.parallel import for_each
from tiling.raster.atomic_files import file_checksum
from tiling.raster.geometry import CoordinateFrame, Geometry, blocks
from tiling.slide_errors import SlideError
from tiling.slides.backends import BackendError, damaged_file
from tiling.slides.slide_reader import Slide
from tiling.slides.working_resolution import Plan, plan_coarser, read_scaled
from tiling.stores.ome_pyramid import WHITE
from tiling.tissue.tissue_mask import tissue_and_pen

_BLOCK_PX = 256
_LEAST_BLOCK_PX = 8


class Coarse(NamedTuple):
    """Masks whose pixel covers stride_px x stride_px stored pixels.

    Attributes
    ----------
    tissue, pen : bool (rows, columns)
    stride_px : stored pixels per pixel
    mpp_um : um per pixel
    tissue_um2 : area of the tissue, um2
    """

    tissue: NDArray[np.bool_]
    pen: NDArray[np.bool_]
    stride_px: int
    mpp_um: float
    tissue_um2: float


def find_tissue(
    slide: Slide,
    plan: Plan,
    *,
    tissue_mpp_um: float,
    tissue: Path | None,
    roi: Path | None,
    origin: CoordinateFrame,
    fail_fast: bool = True,
    workers: int,
    progress: bool,
) -> Coarse:
    """Tissue of a slide on a grid of whole stored pixels.

    Parameters
    ----------
    slide : open slide
    plan : of the stored array
    tissue_mpp_um : um per pixel to look at, rounded to whole stored pixels
    tissue, roi : GeoJSON or mask image; `tissue` replaces the tissue found, `roi` restricts it
    origin : whether GeoJSON counts from the viewer's crop or from the slide's corner
    fail_fast : raise the first SlideError; else what cannot be read counts as tissue, so that its tiles are asked for and counted as failed
    workers, progress : see `for_each`

    Raises
    ------
    SlideError
        The slide cannot be read, or a mask file cannot.
    """
    factor = max(round(tissue_mpp_um / plan.geometry.mpp), 1)
    coarse = plan_coarser(slide.facts, plan, factor)
    geometry = coarse.geometry
    rgb = np.empty((geometry.height_px, geometry.width_px, 3), np.uint8)
    unread: list[tuple[slice, slice]] = []

    def read(block: tuple[slice, slice]) -> None:
        try:
            rgb[block] = read_scaled(slide, coarse, *block)
        except SlideError:
            if fail_fast:
                raise
            height, width = (side.stop - side.start for side in block)
            if max(height, width) > _LEAST_BLOCK_PX:
                top, left = block[0].start, block[1].start
                for y, x in blocks(height, width, max(height, width) // 2):
                    read((slice(top + y.start, top + y.stop), slice(left + x.start, left + x.stop)))
            else:
                rgb[block] = WHITE
                unread.append(block)

    for_each(
        read,
        blocks(geometry.height_px, geometry.width_px, _BLOCK_PX),
        workers=workers,
        what="tissue",
        progress=progress,
    )
    found, pen = tissue_and_pen(rgb, geometry.mpp, workers=workers)
    for block in unread:
        found[block] = True
    if tissue is not None:
        found = mask_from_file(tissue, geometry, origin=origin)
    if roi is not None:
        found = found & mask_from_file(roi, geometry, origin=origin)
    return Coarse(found, pen, factor, geometry.mpp, float(found.sum() * geometry.um2_per_px))


def mask_from_file(path: Path, geometry: Geometry, *, origin: CoordinateFrame) -> NDArray[np.bool_]:
    """A mask on a grid, from GeoJSON polygons or from an image of the whole slide (0 = outside).

    Parameters
    ----------
    path : .geojson, .json, or an image
    geometry : frame of the mask that is asked for
    origin : see `find_tissue`

    Returns
    -------
    bool (height_px, width_px)

    Raises
    ------
    SlideError
        Not readable, without polygons, or an image of another shape than the slide.
    """
    geojson = path.suffix.lower() in (".geojson", ".json")
    try:
        with damaged_file():
            content = json.loads(path.read_text(encoding="utf-8-sig")) if geojson else _pixels(path)
    except FileNotFoundError:
        raise SlideError(
            f"{path}: no such file; correct columns 'tissue' and 'roi' of the sheet"
        ) from None
    except BackendError as error:
        raise SlideError(f"{path}: neither GeoJSON nor a mask image ({error})") from error
    return (
        _rasterised(path, content, geometry, origin)
        if geojson
        else _resampled(path, content, geometry)
    )


def _pixels(path: Path) -> NDArray[Any]:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def _rasterised(
    path: Path,
    content: Any,  # noqa: ANN401  # JSON
    geometry: Geometry,
    origin: CoordinateFrame,
) -> NDArray[np.bool_]:
    import rasterio.features
    from rasterio.transform import Affine

    shapes = [
        shape for shape in _geometries(content) if shape.get("type") in ("Polygon", "MultiPolygon")
    ]
    if not shapes:
        raise SlideError(
            f"{path}: no polygon in it; draw the area as a closed shape and export it again"
        )
    bad = [number for number, shape in enumerate(shapes, start=1) if not _sound(shape)]
    if bad:
        raise SlideError(
            f"{path}: polygon {bad[0]} has coordinates that cannot be read; draw it again and export the file"
        )
    left, top = geometry.viewer_offset(origin)
    to_level0 = Affine(geometry.downsample_x, 0, -left, 0, geometry.downsample_y, -top)
    try:
        burned = rasterio.features.rasterize(
            shapes,
            out_shape=(geometry.height_px, geometry.width_px),
            transform=to_level0,
            default_value=1,
            dtype=np.uint8,
        )
    except (ValueError, TypeError) as error:
        raise SlideError(f"{path}: a polygon cannot be read ({error})") from error
    return np.asarray(burned, bool)


def _sound(shape: dict[str, Any]) -> bool:
    """A polygon whose rings are finite points: rasterio passes over others in silence, and the slide would have no tissue."""
    import shapely.geometry

    try:
        area = shapely.geometry.shape(shape)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError):
        return False
    return not area.is_empty and bool(np.isfinite(area.bounds).all())


def _geometries(content: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # JSON
    """Geometries of GeoJSON in any of its wrappings: a list, a collection, a feature, a bare geometry."""
    if isinstance(content, list):
        return [shape for part in content for shape in _geometries(part)]
    if not isinstance(content, dict):
        return []
    for key in ("features", "geometries", "geometry"):
        if key in content:
            return _geometries(content[key])
    return [content]


def _resampled(path: Path, image: NDArray[Any], geometry: Geometry) -> NDArray[np.bool_]:
    """Nearest pixel of a mask image stretched over the slide."""
    inside = np.asarray(image != 0)
    if image.ndim == 3:
        inside = np.asarray(inside.any(axis=-1))
    height, width = inside.shape
    wanted = geometry.slide_width_px / geometry.slide_height_px
    # A mask made at 1/64 has sides rounded by one pixel; more than that is another picture.
    slack = (1 + 1.5 / width) * (1 + 1.5 / height)
    if not wanted / slack <= width / height <= wanted * slack:
        raise SlideError(
            f"{path}: {width} x {height} px has not the shape of the slide ({geometry.slide_width_px} x {geometry.slide_height_px})"
        )
    y = (
        (np.arange(geometry.height_px) + 0.5)
        * geometry.downsample_y
        / geometry.slide_height_px
        * height
    ).astype(np.int64)
    x = (
        (np.arange(geometry.width_px) + 0.5)
        * geometry.downsample_x
        / geometry.slide_width_px
        * width
    ).astype(np.int64)
    return np.asarray(
        inside[np.minimum(y, height - 1)[:, None], np.minimum(x, width - 1)[None, :]], bool
    )


def file_hash(path: Path) -> str:
    """Checksum of a file; raises SlideError when it is missing."""
    try:
        return file_checksum(path)
    except FileNotFoundError:
        raise SlideError(
            f"{path}: no such file; correct columns 'tissue' and 'roi' of the sheet"
        ) from None
