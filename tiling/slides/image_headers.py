"""Headers of TIFFs and plain images: what the pixels are and how large, before anything is decoded; and the decoding of plain ones."""

import logging
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from tiling.slides.metadata import PixelSize

OME_PLACE = "OME PhysicalSizeX"
_PAGES = 64
# None, LZW, JPEG, Deflate, PackBits, old Deflate
_OPENSLIDE_COMPRESSIONS = (1, 5, 7, 8, 32773, 32946)
MAX_PIXELS = 2_000_000_000
# Pillow warns from 90 Mpx and stops at 180 Mpx. Set once, for files are opened by several threads; the header is checked against it here.
PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# What it says of a damaged file belongs into logs; on a bare console our own message stands alone.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLOUR_MODES = ("RGB", "RGBA", "P", "RGBX")


class NotBrightfield(Exception):
    """Pixels that are not 8-bit RGB; `str()` is the reason."""


def is_tiff(path: Path) -> bool:
    """Whether the first bytes are those of a (Big)TIFF."""
    with path.open("rb") as handle:
        return handle.read(4) in _TIFF_MAGIC


def is_tiled(path: Path) -> bool:
    """Whether the first page of a TIFF is tiled, and so can be read in pieces."""
    with tifffile.TiffFile(path) as tiff:
        return bool(tiff.pages.first.is_tiled)


def suits_tiffslide(path: Path) -> bool:
    """Whether a generic TIFF is better read by tiffslide.

    OME-XML holds pixel size and sub-resolutions where OpenSlide's generic reader does not look, and some compressions it does not know.
    """
    with tifffile.TiffFile(path) as tiff:
        return bool(tiff.is_ome) or int(tiff.pages.first.compression) not in _OPENSLIDE_COMPRESSIONS


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


def ome_pixel_size(path: Path) -> PixelSize | None:
    """Pixel size in the OME-XML of a TIFF (micrometres where it names no unit, as the schema says)."""
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    if xml is None or "<!DOCTYPE" in xml or "<!ENTITY" in xml:  # entities can blow up a parser
        return None
    try:
        found = next(
            (
                element
                for element in ElementTree.fromstring(xml).iter()
                if element.tag.endswith("}Pixels")
            ),
            None,
        )
    except ElementTree.ParseError:
        return None
    if found is None:
        return None
    try:
        x, y = (
            float(found.attrib[f"PhysicalSize{axis}"])
            * _UM_PER_UNIT[found.get(f"PhysicalSize{axis}Unit", "um")]
            for axis in "XY"
        )
    except (KeyError, ValueError):
        return None
    return PixelSize(x, y, OME_PLACE)


def tiff_profile(path: Path) -> bytes | None:
    """The ICC profile of a TIFF's first page."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags.get("InterColorProfile")
        return None if tag is None else bytes(tag.value)


def check_tiff_pixels(path: Path, *, converted: bool) -> None:
    """Refuse TIFF pixels that are not 8-bit RGB: OpenSlide would turn 16-bit and grey pages into RGB without a word.

    Parameters
    ----------
    path : TIFF file
    converted : its reader (OpenSlide) brings colours to RGB; others do so only inside JPEG, and give the rest as it is stored

    Raises
    ------
    NotBrightfield
        Says what the pixels are.
    """
    with tifffile.TiffFile(path) as tiff:
        page, series = _largest(tiff), tiff.series[0]
        if _has_palette(page) and not page.is_tiled:
            return
        if page.dtype != np.uint8:
            raise NotBrightfield(f"pixels are {page.dtype}, not 8-bit RGB")
        if page.samplesperpixel not in (3, 4):
            raise NotBrightfield(f"{_channels(series)} channel(s) of {page.dtype}, not RGB")
        if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
            raise NotBrightfield("CMYK pixels, not RGB")
        inside_jpeg = (
            page.compression == tifffile.COMPRESSION.JPEG
            and page.photometric == tifffile.PHOTOMETRIC.YCBCR
        )
        if not (converted or inside_jpeg or page.photometric == tifffile.PHOTOMETRIC.RGB):
            raise NotBrightfield(
                f"{tifffile.PHOTOMETRIC(page.photometric).name} colours outside JPEG, not RGB"
            )
        extra = {
            axis: size
            for axis, size in zip(series.axes, series.shape, strict=True)
            if axis in "CZT" and size > 1
        }
        if series.kind == "ome" and extra:
            raise NotBrightfield(
                f"axes {series.axes} of sizes {series.shape}: several planes, not one RGB image"
            )


def _largest(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """The page that is the slide: labels and thumbnails of any kind may come before it."""
    pages = [page for page in tiff.pages[:_PAGES] if isinstance(page, tifffile.TiffPage)]
    return max(pages, key=lambda page: page.imagewidth * page.imagelength)


def _has_palette(page: tifffile.TiffPage) -> bool:
    return bool(
        page.photometric == tifffile.PHOTOMETRIC.PALETTE
        and page.dtype == np.uint8
        and page.colormap is not None
    )


def _channels(series: tifffile.TiffPageSeries) -> int:
    return dict(zip(series.axes, series.shape, strict=True)).get("C", 1)


class PlainImage:
    """Header of a plain image; `decode` gives its pixels.

    Raises
    ------
    NotBrightfield, OSError, ValueError
        The header is damaged, the pixels are not RGB, or there are too many of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tiff = is_tiff(path)
        self.pixel_size: PixelSize | None
        self.icc: bytes | None
        if self._tiff:
            self._read_tiff_header()
        else:
            self._read_header()
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(
                f"{self.width} x {self.height} pixels in one piece (limit {MAX_PIXELS:,}); convert it to a tiled pyramidal TIFF"
            )

    def _read_tiff_header(self) -> None:
        self.icc = tiff_profile(self._path)
        self.resolution_place = "tiff resolution tags"
        with tifffile.TiffFile(self._path) as tiff:
            page = _largest(tiff)
            self.format, self.width, self.height = (
                "tiff",
                int(page.imagewidth),
                int(page.imagelength),
            )
            um = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
            x, y = page.resolution
            self.pixel_size = (
                PixelSize(um / x, um / y, self.resolution_place)
                if um is not None and x > 0 and y > 0
                else None
            )

    def _read_header(self) -> None:
        self.resolution_place = "image resolution (dpi)"
        with PIL.Image.open(self._path) as image:
            if image.mode not in _COLOUR_MODES:
                raise NotBrightfield(f"image mode {image.mode}, not 8-bit RGB")
            # Pillow opens a 16-bit PNG as RGB and drops the lower bytes.
            if any("16" in str(tile[3]) for tile in image.tile):
                raise NotBrightfield("16 bits per channel, not 8-bit RGB")
            self.format, (self.width, self.height) = str(image.format).lower(), image.size
            self.icc = image.info.get("icc_profile")
            x, y = (float(value) for value in image.info.get("dpi", (0, 0)))
            self.pixel_size = (
                PixelSize(25400 / x, 25400 / y, self.resolution_place) if x > 0 and y > 0 else None
            )

    def decode(self) -> NDArray[np.uint8]:
        """RGB pixels uint8 (h, w, 3 or 4)."""
        if self._tiff:
            with tifffile.TiffFile(self._path) as tiff:
                page = _largest(tiff)
                pixels = np.asarray(page.asarray())
                if _has_palette(page):
                    colours = (np.asarray(page.colormap) >> 8).astype(
                        np.uint8
                    )  # (3, 256), 16 bits in the file
                    return np.ascontiguousarray(np.moveaxis(colours[:, pixels], 0, -1))
                return np.moveaxis(pixels, 0, -1) if page.axes.startswith("S") else pixels
        with PIL.Image.open(self._path) as image:
            if image.mode == "RGB":
                return np.asarray(image)
            return np.asarray(image.convert("RGBA"))
