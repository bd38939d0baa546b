"""Tiled TIFFs that OpenSlide does not open (OME-TIFF and others), read by tiffslide."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tiling.raster.geometry import Window
from tiling.slides.backend import (
    RESOLUTION_TAGS,
    WHITE_RGB,
    FileDescription,
    Rgb,
    flatten_alpha,
    pixel_size_of,
    pixel_size_of_tags,
    positive_number,
)
from tiling.slides.read_errors import file_read_errors
from tiling.slides.tiff_headers import OME_PIXEL_SIZE, ome_pixel_size, tiff_profile


class TiffSlideBackend:
    """An open slide of tiffslide; its Zarr view gives exact pixels of every level."""

    def __init__(self, path: Path) -> None:
        import tiffslide

        with file_read_errors():
            self._slide = tiffslide.TiffSlide(path)
            self._levels: list[Any] = [
                self._slide.zarr_group[str(level)] for level in range(self._slide.level_count)
            ]
            self._ome_pixel_size = ome_pixel_size(path)
            self._icc = tiff_profile(path)
        axes = str(self._slide.properties.get("tiffslide.series-axes", "YXS"))
        self._planar = axes.startswith("S")

    def describe(self) -> FileDescription:
        """See Backend."""
        properties = self._slide.properties
        mpp_x, mpp_y = properties.get("tiffslide.mpp-x"), properties.get("tiffslide.mpp-y")
        return FileDescription(
            reader="tiffslide",
            reader_version=version("tiffslide"),
            vendor=str(properties.get("tiffslide.vendor") or "tiff"),
            level_sizes_px=tuple(self._slide.level_dimensions),
            pixel_sizes={
                OME_PIXEL_SIZE: self._ome_pixel_size,
                "tiffslide.mpp-x": pixel_size_of(mpp_x, mpp_y),
                RESOLUTION_TAGS: pixel_size_of_tags(properties),
            },
            objective_power=positive_number(properties.get("tiffslide.objective-power")),
            associated=tuple(sorted(self._slide.associated_images)),
            icc=self._icc,
        )

    def read(self, level: int, window: Window) -> Rgb:
        """See Backend."""
        rows, columns = window.slices
        with file_read_errors():
            array = self._levels[level]
            if self._planar:
                pixels = np.moveaxis(array[:, rows, columns], 0, -1)
            else:
                pixels = array[rows, columns]
        return flatten_alpha(np.asarray(pixels), WHITE_RGB)

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        with file_read_errors():
            image = self._slide.associated_images[name].convert("RGBA")
            return flatten_alpha(np.asarray(image), WHITE_RGB)

    def close(self) -> None:
        """See Backend."""
        self._slide.close()
