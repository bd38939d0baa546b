"""Vendor formats, read by OpenSlide."""

from pathlib import Path

import numpy as np

from tiling.raster.geometry import Window
from tiling.slides.alpha import flatten_alpha
from tiling.slides.backend import (
    RESOLUTION_TAGS,
    FileDescription,
    Rgb,
    pixel_size_of,
    pixel_size_of_tags,
    positive_number,
)
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import FileReadError

# OpenSlide takes the position of a window in level-0 coordinates and divides it by the *mean* of
# the ratios of both axes. The result seldom is a whole level pixel, and the shift of less than a
# pixel would depend on where a read starts. Such levels are read in fixed cells: then the value of
# a pixel does not depend on the window.
_CELL_PX = 512
_BOUNDS_KEYS = [f"openslide.bounds-{name}" for name in ("x", "y", "width", "height")]


class OpenSlideBackend:
    """An open slide of OpenSlide; transparent pixels get the background colour of the slide."""

    def __init__(self, path: Path) -> None:
        import openslide

        self._error = openslide.OpenSlideError
        self._version = openslide.__library_version__
        try:
            self._slide = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, openslide.OpenSlideUnsupportedFormatError) as error:
            raise FileReadError(str(error)) from error
        # Kept here because after an error the handle of OpenSlide refuses even these.
        self._sizes = self._slide.level_dimensions
        self._factors = self._slide.level_downsamples
        colour = self._slide.properties.get("openslide.background-color", "FFFFFF")
        self._background = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)], np.uint16)

    def describe(self) -> FileDescription:
        """See Backend."""
        properties = self._slide.properties
        profile = self._slide.color_profile
        bounds = None
        if all(key in properties for key in _BOUNDS_KEYS):
            x, y, width, height = (int(properties[key]) for key in _BOUNDS_KEYS)
            bounds = x, y, width, height
        return FileDescription(
            reader="openslide",
            reader_version=self._version,
            vendor=self._vendor,
            level_sizes_px=tuple(self._sizes),
            pixel_sizes=self._pixel_sizes(),
            bounds_level0=bounds,
            objective_power=positive_number(properties.get("openslide.objective-power")),
            associated=tuple(sorted(self._slide.associated_images)),
            icc=None if profile is None else profile.tobytes(),
        )

    @property
    def _vendor(self) -> str:
        return str(self._slide.properties.get("openslide.vendor", "unknown"))

    def _pixel_sizes(self) -> dict[str, PixelSize | None]:
        properties = self._slide.properties
        size = pixel_size_of(properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y"))
        sizes = {"openslide.mpp-x": size}
        if self._vendor == "aperio":
            mpp = properties.get("aperio.MPP")
            sizes["aperio.MPP"] = pixel_size_of(mpp, mpp)
        if "tiff.ResolutionUnit" in properties:
            sizes[RESOLUTION_TAGS] = pixel_size_of_tags(properties)
        return sizes

    def read(self, level: int, window: Window) -> Rgb:
        """See Backend."""
        if float(self._factors[level]).is_integer():
            return self._read_region(level, window)
        level_width, level_height = self._sizes[level]
        y, x = window.y, window.x
        out = np.empty((window.height, window.width, 3), np.uint8)
        for top in range(y // _CELL_PX * _CELL_PX, window.bottom, _CELL_PX):
            for left in range(x // _CELL_PX * _CELL_PX, window.right, _CELL_PX):
                height, width = min(_CELL_PX, level_height - top), min(_CELL_PX, level_width - left)
                cell = self._read_region(level, Window(top, left, height, width))
                y0, y1 = max(top, y), min(top + _CELL_PX, window.bottom)
                x0, x1 = max(left, x), min(left + _CELL_PX, window.right)
                part = cell[y0 - top : y1 - top, x0 - left : x1 - left]
                out[y0 - y : y1 - y, x0 - x : x1 - x] = part
        return out

    def _read_region(self, level: int, window: Window) -> Rgb:
        factor = self._factors[level]
        corner_xy = round(window.x * factor), round(window.y * factor)
        try:
            image = self._slide.read_region(corner_xy, level, (window.width, window.height))
        except self._error as error:
            raise FileReadError(str(error)) from error
        return flatten_alpha(np.asarray(image), self._background)

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        try:
            return flatten_alpha(np.asarray(self._slide.associated_images[name]), self._background)
        except self._error as error:
            raise FileReadError(str(error)) from error

    def close(self) -> None:
        """See Backend."""
        self._slide.close()
