"""Headers of TIFF files: pixel size, colour profile, and whether the pixels are 8-bit RGB.

Nothing is decoded here.
"""

import logging
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import NotBrightfieldError

OME_PIXEL_SIZE = "OME PhysicalSizeX"
# A slide has a dozen pages; a file of thousands would take seconds to open.
_MAX_PAGES = 256
_MAX_SEARCHED_PAGES = 64  # for the largest page
# None, LZW, JPEG, Deflate, PackBits, old Deflate
_OPENSLIDE_COMPRESSIONS = (1, 5, 7, 8, 32773, 32946)
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UM_PER_UNIT = {
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "in": 25400.0,
}
# tifffile's remarks on a damaged file go to logs only; without a log, our own message is enough.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def is_tiff(path: Path) -> bool:
    """Whether the first bytes are those of a TIFF or BigTIFF."""
    with path.open("rb") as file:
        return file.read(4) in _TIFF_MAGIC


def is_tiled(path: Path) -> bool:
    """Whether the first page of a TIFF is tiled, so that parts of it can be read."""
    with tifffile.TiffFile(path) as tiff:
        return bool(tiff.pages.first.is_tiled)


def needs_tiffslide(path: Path) -> bool:
    """Whether tiffslide reads a generic TIFF better than OpenSlide.

    OpenSlide's generic reader does not use the pixel size and the sub-resolutions of OME-XML, and
    it does not decode some compressions.
    """
    with tifffile.TiffFile(path) as tiff:
        return bool(tiff.is_ome) or int(tiff.pages.first.compression) not in _OPENSLIDE_COMPRESSIONS


def tiff_pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """All pages, with the sub-resolutions of OME-TIFF."""
    pages: list[object] = []
    for page in tiff.pages[:_MAX_PAGES]:
        pages.append(page)
        pages += list(page.pages) if page.pages is not None else []
    return [page for page in pages if isinstance(page, tifffile.TiffPage)]


def largest_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """The page that holds the slide: a label or a thumbnail may come before it."""
    pages = [p for p in tiff.pages[:_MAX_SEARCHED_PAGES] if isinstance(p, tifffile.TiffPage)]
    return max(pages, key=lambda page: page.imagewidth * page.imagelength)


def has_palette(page: tifffile.TiffPage) -> bool:
    """Whether the page holds 8-bit indices into a table of colours."""
    return bool(
        page.photometric == tifffile.PHOTOMETRIC.PALETTE
        and page.dtype == np.uint8
        and page.colormap is not None
    )


def tiff_profile(path: Path) -> bytes | None:
    """The ICC profile of a TIFF's first page."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags.get("InterColorProfile")
        return None if tag is None else bytes(tag.value)


def ome_pixel_size(path: Path) -> PixelSize | None:
    """Pixel size in the OME-XML of a TIFF.

    A value without a unit is in um, as the OME schema defines.
    """
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    # Entities can make a parser use unlimited memory.
    if xml is None or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        return None
    try:
        elements = list(ElementTree.fromstring(xml).iter())
    except ElementTree.ParseError:
        return None
    pixels = next((element for element in elements if element.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    try:
        return PixelSize(_physical_size(pixels, "X"), _physical_size(pixels, "Y"))
    except (KeyError, ValueError):
        return None


def _physical_size(pixels: ElementTree.Element, axis: str) -> float:
    unit = pixels.get(f"PhysicalSize{axis}Unit", "um")
    return float(pixels.attrib[f"PhysicalSize{axis}"]) * _UM_PER_UNIT[unit]


def check_tiff_pixels(path: Path, *, converts_colours: bool) -> None:
    """Refuse TIFF pixels that are not 8-bit RGB.

    OpenSlide would convert 16-bit and grey pages to RGB without a message.

    Parameters
    ----------
    path : TIFF file
    converts_colours : whether the reader of the file converts colours to RGB, as OpenSlide does;
        others do so only inside JPEG, and give the rest as it is stored

    Raises
    ------
    NotBrightfieldError
        The message describes the pixels.
    """
    with tifffile.TiffFile(path) as tiff:
        page, series = largest_page(tiff), tiff.series[0]
        if has_palette(page) and not page.is_tiled:
            return
        if page.dtype != np.uint8:
            raise NotBrightfieldError(f"pixels are {page.dtype}, not 8-bit RGB")
        if page.samplesperpixel not in (3, 4):
            channels = dict(zip(series.axes, series.shape, strict=True)).get("C", 1)
            raise NotBrightfieldError(f"{channels} channel(s) of {page.dtype}, not RGB")
        _check_colours(page, converts_colours=converts_colours)
        if series.kind == "ome" and _has_several_planes(series):
            raise NotBrightfieldError(
                f"axes {series.axes} of sizes {series.shape}: several planes, not one RGB image"
            )


def _check_colours(page: tifffile.TiffPage, *, converts_colours: bool) -> None:
    photometric = page.photometric
    if photometric == tifffile.PHOTOMETRIC.SEPARATED:
        raise NotBrightfieldError("CMYK pixels, not RGB")
    is_jpeg = page.compression == tifffile.COMPRESSION.JPEG
    inside_jpeg = is_jpeg and photometric == tifffile.PHOTOMETRIC.YCBCR
    if not (converts_colours or inside_jpeg or photometric == tifffile.PHOTOMETRIC.RGB):
        name = tifffile.PHOTOMETRIC(photometric).name
        raise NotBrightfieldError(f"{name} colours outside JPEG, not RGB")


def _has_several_planes(series: tifffile.TiffPageSeries) -> bool:
    sizes = zip(series.axes, series.shape, strict=True)
    return any(axis in "CZT" and size > 1 for axis, size in sizes)
