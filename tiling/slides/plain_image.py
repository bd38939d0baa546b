"""PNG, JPEG, BMP, and TIFF without tiles: images of one level, read by Pillow and tifffile."""

import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.slides.backend import RESOLUTION_TAGS, WHITE_RGB, FileDescription, Rgb, flatten_alpha
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import FileReadError, NotBrightfieldError, file_read_errors
from tiling.slides.tiff_headers import has_palette, is_tiff, largest_page, tiff_profile

MAX_PIXELS = 2_000_000_000
# Pillow warns from 90 Mpx and stops at 180 Mpx. Its limit is set once, because several threads open
# files; the header is checked against the same limit here.
PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS
_COLOUR_MODES = ("RGB", "RGBA", "P", "RGBX")


class PlainImageBackend:
    """One image, decoded at the first read and kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with file_read_errors():
            self._is_tiff = is_tiff(path)
            self._header = _tiff_header(path) if self._is_tiff else _image_header(path)
            _check_size(self._header)
        self._pixels: Rgb | None = None
        self._decode_lock = threading.Lock()

    def describe(self) -> FileDescription:
        """See Backend."""
        header = self._header
        return FileDescription(
            reader="pillow",
            reader_version=PIL.__version__,
            vendor=header.format,
            level_sizes_px=((header.width, header.height),),
            pixel_sizes={header.pixel_size_place: header.pixel_size},
            icc=header.icc,
        )

    def read(self, level: int, window: Window) -> Rgb:
        """See Backend."""
        with self._decode_lock:
            if self._pixels is None:
                with file_read_errors():
                    decode = _decode_tiff if self._is_tiff else _decode_image
                    self._pixels = flatten_alpha(decode(self._path), WHITE_RGB)
        return self._pixels[window.slices].copy()

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        raise FileReadError(f"a plain image has no associated image {name!r}")

    def close(self) -> None:
        """See Backend."""
        self._pixels = None


class _ImageHeader(NamedTuple):
    """Header of a plain image; `pixel_size_place` is where `pixel_size` is stated."""

    format: str
    width: int
    height: int
    pixel_size_place: str
    pixel_size: PixelSize | None
    icc: bytes | None


def _tiff_header(path: Path) -> _ImageHeader:
    with tifffile.TiffFile(path) as tiff:
        page = largest_page(tiff)
        width, height = int(page.imagewidth), int(page.imagelength)
        um_per_unit = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
        size = _pixel_size(um_per_unit, *page.resolution)
    return _ImageHeader("tiff", width, height, RESOLUTION_TAGS, size, tiff_profile(path))


def _image_header(path: Path) -> _ImageHeader:
    with PIL.Image.open(path) as image:
        if image.mode not in _COLOUR_MODES:
            raise NotBrightfieldError(f"image mode {image.mode}, not 8-bit RGB")
        # Pillow opens a 16-bit PNG as RGB and drops the lower bytes.
        if any("16" in str(tile[3]) for tile in image.tile):
            raise NotBrightfieldError("16 bits per channel, not 8-bit RGB")
        width, height = image.size
        x, y = (float(value) for value in image.info.get("dpi", (0, 0)))
        return _ImageHeader(
            str(image.format).lower(),
            width,
            height,
            "image resolution (dpi)",
            _pixel_size(25400.0, x, y),
            image.info.get("icc_profile"),
        )


def _pixel_size(
    um_per_unit: float | None, x_per_unit: float, y_per_unit: float
) -> PixelSize | None:
    """Pixel size from a resolution in pixels per unit of length."""
    if um_per_unit is None or x_per_unit <= 0 or y_per_unit <= 0:
        return None
    return PixelSize(um_per_unit / x_per_unit, um_per_unit / y_per_unit)


def _check_size(header: _ImageHeader) -> None:
    if header.width * header.height > MAX_PIXELS:
        raise ValueError(
            f"{header.width} x {header.height} pixels in one piece (limit {MAX_PIXELS:,}); "
            "convert it to a tiled pyramidal TIFF"
        )


def _decode_tiff(path: Path) -> NDArray[np.uint8]:
    """RGB pixels uint8 (h, w, 3 or 4)."""
    with tifffile.TiffFile(path) as tiff:
        page = largest_page(tiff)
        pixels = np.asarray(page.asarray())
        if has_palette(page):
            colours = (np.asarray(page.colormap) >> 8).astype(np.uint8)  # (3, 256), 16 bits in file
            return np.ascontiguousarray(np.moveaxis(colours[:, pixels], 0, -1))
        return np.moveaxis(pixels, 0, -1) if page.axes.startswith("S") else pixels


def _decode_image(path: Path) -> NDArray[np.uint8]:
    """RGB pixels uint8 (h, w, 3 or 4)."""
    with PIL.Image.open(path) as image:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGBA"))
