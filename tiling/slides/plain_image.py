"""PNG, JPEG, BMP and other images of one level, read by Pillow."""

import threading
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image

from tiling.raster.geometry import Window
from tiling.raster.image_claims import claim_problem
from tiling.slides.alpha import flatten_alpha
from tiling.slides.backend import (
    MAX_PIXELS_IN_ONE_PIECE,
    WHITE_RGB,
    FileDescription,
    Rgb,
    orientation_remark,
    positive_number,
)
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import FileReadError, NotBrightfieldError, file_read_errors

# Pillow warns from 90 Mpx and stops at 180 Mpx. Its limit is set once, because several threads open
# files. It is larger than ours, because mask images have one byte for each pixel.
PIL.Image.MAX_IMAGE_PIXELS = 2_000_000_000
# First bytes of images that only Pillow reads: PNG, JPEG, BMP, GIF.
IMAGE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8")
_COLOUR_MODES = ("RGB", "RGBA", "P", "RGBX")
_ANIMATED_FORMATS = ("GIF", "PNG", "WEBP")
_ROWS_AT_ONCE = 256


class PlainImageBackend:
    """One image, decoded at the first read and kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with file_read_errors():
            self._description = _description(path)
        self._pixels: Rgb | None = None
        self._decode_lock = threading.Lock()

    def describe(self) -> FileDescription:
        """See Backend."""
        return self._description

    def read(self, level: int, window: Window) -> Rgb:
        """See Backend."""
        with self._decode_lock:
            if self._pixels is None:
                with file_read_errors():
                    self._pixels = _decode_image(self._path)
        return self._pixels[window.slices].copy()

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        raise FileReadError(f"a plain image has no associated image {name!r}")

    def close(self) -> None:
        """See Backend."""
        self._pixels = None


def _description(path: Path) -> FileDescription:
    with PIL.Image.open(path) as image:
        if image.mode not in _COLOUR_MODES:
            raise NotBrightfieldError(f"image mode {image.mode}, not 8-bit RGB")
        # Pillow opens a 16-bit PNG as RGB and drops the lower bytes.
        if any("16" in str(tile[3]) for tile in image.tile):
            raise NotBrightfieldError("16 bits per channel, not 8-bit RGB")
        if image.format in _ANIMATED_FORMATS and getattr(image, "n_frames", 1) > 1:
            raise NotBrightfieldError("several frames, not one image")
        _check_size(image, path)
        remark = orientation_remark(_orientation(image))
        return FileDescription(
            reader="pillow",
            reader_version=PIL.__version__,
            vendor=str(image.format).lower(),
            level_sizes_px=(image.size,),
            pixel_sizes={"image resolution (dpi)": _pixel_size(image.info.get("dpi"))},
            icc=image.info.get("icc_profile"),
            remarks=() if remark is None else (remark,),
        )


def _orientation(image: PIL.Image.Image) -> object:
    """The orientation of EXIF; None where EXIF is damaged: the pixels do not need it."""
    if image.format == "PNG" and "exif" not in image.info:
        return None  # Pillow would decode the image to look for EXIF after the pixels
    try:
        with file_read_errors():
            return image.getexif().get(PIL.ExifTags.Base.Orientation)
    except FileReadError:
        return None


def _pixel_size(dpi: object) -> PixelSize | None:
    """Pixel size from a resolution in pixels per inch (x, y); None when it is no such thing."""
    if not (isinstance(dpi, tuple) and len(dpi) == 2):
        return None
    x, y = (positive_number(value) for value in dpi)
    return None if x is None or y is None else PixelSize(25400.0 / x, 25400.0 / y)


def _check_size(image: PIL.Image.Image, path: Path) -> None:
    """Refuse an image that needs too much memory; a progressive JPEG needs twice as much.

    Raises
    ------
    FileReadError
        With the size and its limit.
    """
    limit_px = MAX_PIXELS_IN_ONE_PIECE // (2 if image.info.get("progressive") else 1)
    width, height = image.size
    if width * height > limit_px:
        raise FileReadError(f"{width} x {height} pixels in one piece (limit {limit_px:,})")
    problem = claim_problem(image.format, width, height, path.stat().st_size)
    if problem is not None:
        raise FileReadError(problem)


def _decode_image(path: Path) -> Rgb:
    """The pixels over white; they are converted in parts, so that memory holds them once."""
    with PIL.Image.open(path) as image:
        image.load()
        width, height = image.size
        mode = "RGBA" if image.has_transparency_data else "RGB"
        out = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _ROWS_AT_ONCE):
            bottom = min(top + _ROWS_AT_ONCE, height)
            part = image.crop((0, top, width, bottom)).convert(mode)
            out[top:bottom] = flatten_alpha(np.asarray(part), WHITE_RGB)
    return out
