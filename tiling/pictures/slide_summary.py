"""What the preview shows of one slide, kept as JSON so that it stays when the tiles are deleted."""

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiling.pictures.annotation_summary import AnnotationSummary, summarise_annotation
from tiling.pictures.canvas import (
    LEFT_OUT_COLOUR,
    PEN_COLOUR,
    TISSUE_COLOUR,
    Colour,
    Thumbnail,
    colour_mask,
    png_bytes,
    slide_thumbnail,
)
from tiling.qupath.annotation_source import AnnotationFile
from tiling.raster.atomic_files import write_atomic
from tiling.raster.earlier_results import reading_result
from tiling.raster.edges import inner_edges
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import recorded_error
from tiling.stores.layout import TileStore

PICTURE_PX = 420
# Compressed bytes of the four maps, the labels and the GeoJSON per stored pixel under tiles;
# 1.5 to 1.9 were measured on real tissue.
RESULT_BYTES_PER_PX = 2.0
_TILE_COLOUR: Colour = (110, 110, 150)
_TILE_OPACITY = 0.55
_PNG_COLOURS = 256  # there are hundreds of pictures in the page of a cohort


class SlideSummary(NamedTuple):
    """What the preview shows of one slide; the summary of a failed slide has its error only.

    Attributes
    ----------
    slide, error : name, and why the slide failed (None: it did not)
    tiles, left_out : number of tiles to predict, and of those left out (pen, focus)
    tissue_mm2 : tissue area
    mpp_um, mpp_origin : pixel size of the store, and where that of the slide was found
    stored_bytes, result_bytes : tiles on disk, and what maps and glands will take (an estimate)
    annotation : of a slide that has one; None also for a failed slide
    picture : thumbnail with tissue, tiles and annotation, None for a failed slide
    """

    slide: str
    error: str | None
    tiles: int = 0
    left_out: int = 0
    tissue_mm2: float = 0.0
    mpp_um: float = 0.0
    mpp_origin: str = ""
    stored_bytes: int = 0
    result_bytes: int = 0
    annotation: AnnotationSummary | None = None
    picture: Image.Image | None = None


def write_slide_summary(
    store: Path, out: Path, *, annotation: AnnotationFile | None = None
) -> None:
    """Write the summary of one slide.

    Parameters
    ----------
    store : tile store `{slide}.zarr`, also of a failed slide
    out : JSON, appears when it is complete; fields of `SlideSummary`, the picture as a data URI
    annotation : of the slide, None without one
    """
    summary = _summary(store, annotation)
    values = {
        **summary._asdict(),
        "annotation": None if summary.annotation is None else asdict(summary.annotation),
        "picture": None if summary.picture is None else data_uri(summary.picture),
    }
    write_atomic(out, json.dumps(values))


def read_slide_summary(path: Path, *, with_picture: bool = True) -> SlideSummary:
    """The summary in a file of `write_slide_summary`.

    Parameters
    ----------
    with_picture : decode the picture; otherwise it is None
    """
    content = path.read_bytes()
    with reading_result(path):
        values = json.loads(content)
        if missing := {*SlideSummary._fields} - {*values}:
            raise ValueError(f"no {min(missing)}")
        values["tissue_mm2"] = float(values["tissue_mm2"])
        picture = values.pop("picture")
        if picture is not None and with_picture:
            values["picture"] = _decoded(base64.b64decode(picture.partition(",")[2]))
        if values["annotation"] is not None:
            values["annotation"] = AnnotationSummary(**values["annotation"])
        return SlideSummary(**values)


def _decoded(png: bytes) -> Image.Image:
    """The picture; raises ValueError if it is damaged."""
    try:
        with Image.open(io.BytesIO(png)) as image:
            return image.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:  # no error of a disk: it is in memory
        raise ValueError(str(error)) from error


def data_uri(picture: Image.Image) -> str:
    """A picture as text for a page, with 256 colours."""
    png = png_bytes(picture.quantize(_PNG_COLOURS))
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _summary(store: Path, annotation: AnnotationFile | None) -> SlideSummary:
    slide = store.name.removesuffix(".zarr")
    error = recorded_error(store)
    if error is not None:
        return SlideSummary(slide, error)
    attributes = TileStore.read(store)
    table = read_table(store, "tiles", ("origin_yx_px", "status"))
    thumbnail = slide_thumbnail(store, PICTURE_PX)
    is_used = table["status"] == 0
    stride_px = attributes.tile_px - attributes.overlap_px
    picture = _picture(store, thumbnail, table["origin_yx_px"], is_used, attributes)
    annotated = None
    if annotation is not None:
        annotated, drawn = summarise_annotation(annotation, store, thumbnail)
        picture = picture if drawn is None else drawn.draw(picture)
    return SlideSummary(
        slide,
        None,
        tiles=int(is_used.sum()),
        left_out=int((~is_used).sum()),
        tissue_mm2=attributes.tissue_um2 / 1e6,
        mpp_um=thumbnail.geometry.mpp,
        mpp_origin=attributes.mpp_origin,
        stored_bytes=sum(path.stat().st_size for path in store.rglob("*") if path.is_file()),
        # Neighbouring tiles overlap: each adds a square of one stride.
        result_bytes=int(is_used.sum() * stride_px**2 * RESULT_BYTES_PER_PX),
        annotation=annotated,
        picture=picture,
    )


def _picture(
    store: Path,
    thumbnail: Thumbnail,
    origin_yx_px: NDArray[np.int64],
    is_used: NDArray[np.bool_],
    attributes: TileStore,
) -> Image.Image:
    """The thumbnail with the outlines of tissue and pen, and the frames of the tiles."""
    with_tiles = thumbnail.image.copy()
    draw = ImageDraw.Draw(with_tiles)
    px_per_row, px_per_column = thumbnail.px_per_pixel
    # Tiles that are left out are drawn last, so that their frames are visible.
    for used, colour in ((True, _TILE_COLOUR), (False, LEFT_OUT_COLOUR)):
        for y, x in origin_yx_px[is_used == used].tolist():
            bottom, right = y + attributes.tile_px, x + attributes.tile_px
            frame = (
                x / px_per_column,
                y / px_per_row,
                right / px_per_column - 1,
                bottom / px_per_row - 1,
            )
            draw.rectangle(frame, outline=colour)
    # Half transparent, because overlapping frames would hide much of a small picture.
    image = Image.blend(thumbnail.image, with_tiles, _TILE_OPACITY)
    pixel_size = attributes.tissue_mpp_um / thumbnail.geometry.mpp
    for name, colour in (("pen", PEN_COLOUR), ("tissue", TISSUE_COLOUR)):
        mask = np.asarray(open_array(open_store(store), name)[...])
        edges = inner_edges(_resampled(mask, thumbnail, pixel_size).astype(np.int32))
        image = colour_mask(image, edges, colour)
    return image


def _resampled(
    mask: NDArray[np.uint8], thumbnail: Thumbnail, pixel_size: float
) -> NDArray[np.uint8]:
    """The value of a coarse mask at the centre of each pixel of the thumbnail.

    Parameters
    ----------
    mask : on the coarse grid
    thumbnail : picture
    pixel_size : stored pixels per pixel of the mask
    """
    sides = (thumbnail.image.height, thumbnail.image.width)
    rows, columns = (
        np.minimum(((np.arange(side) + 0.5) * scale / pixel_size).astype(int), cells - 1)
        for side, scale, cells in zip(sides, thumbnail.px_per_pixel, mask.shape, strict=True)
    )
    return np.asarray(mask[np.ix_(rows, columns)])
