"""PNG, JPEG, BMP and other images of one level, read by Pillow."""

import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.slides.alpha import flatten_alpha
from tiling.slides.backend import (
    MAX_PIXELS_IN_ONE_PIECE,
    WHITE_RGB,
    FileDescription,
    Rgb,
    positive_number,
)
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import FileReadError, NotBrightfieldError, file_read_errors

# Pillow warns from 90 Mpx and stops at 180 Mpx. Its limit is set once, because several threads open
# files; the header is checked against the same limit here.
PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS_IN_ONE_PIECE
_COLOUR_MODES = ("RGB", "RGBA", "P", "RGBX")


class PlainImageBackend:
    """One image, decoded at the first read and kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with file_read_errors():
            self._header = _image_header(path)
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
                    self._pixels = flatten_alpha(_decode_image(self._path), WHITE_RGB)
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


def _image_header(path: Path) -> _ImageHeader:
    with PIL.Image.open(path) as image:
        if image.mode not in _COLOUR_MODES:
            raise NotBrightfieldError(f"image mode {image.mode}, not 8-bit RGB")
        # Pillow opens a 16-bit PNG as RGB and drops the lower bytes.
        if any("16" in str(tile[3]) for tile in image.tile):
            raise NotBrightfieldError("16 bits per channel, not 8-bit RGB")
        width, height = image.size
        return _ImageHeader(
            str(image.format).lower(),
            width,
            height,
            "image resolution (dpi)",
            _pixel_size(image.info.get("dpi")),
            image.info.get("icc_profile"),
        )


def _pixel_size(dpi: object) -> PixelSize | None:
    """Pixel size from a resolution in pixels per inch (x, y); None when it is no such thing."""
    if not (isinstance(dpi, tuple) and len(dpi) == 2):
        return None
    x, y = (positive_number(value) for value in dpi)
    return None if x is None or y is None else PixelSize(25400.0 / x, 25400.0 / y)


def _check_size(header: _ImageHeader) -> None:
    if header.width * header.height > MAX_PIXELS_IN_ONE_PIECE:
        raise ValueError(
            f"{header.width} x {header.height} pixels in one piece "
            f"(limit {MAX_PIXELS_IN_ONE_PIECE:,}); convert it to a tiled pyramidal TIFF"
        )


def _decode_image(path: Path) -> NDArray[np.uint8]:
    """RGB pixels uint8 (h, w, 3 or 4)."""
    with PIL.Image.open(path) as image:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGBA"))
