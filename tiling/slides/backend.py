"""The interface between the slide reader and the libraries that decode slides.

There is one module per library. A backend reads exact pixels of a level and raises `FileReadError`
for what it cannot read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.slides.pixel_size import PixelSize

Rgb = NDArray[np.uint8]  # (h, w, 3)
RESOLUTION_TAGS = "tiff resolution tags"
# An image without tiles that has more is not decoded. Decoding needs at most 7 bytes for each
# pixel, 1.75 GB: a job that tiles a slide asks for 2 GB.
MAX_PIXELS_IN_ONE_PIECE = 250_000_000
WHITE_RGB = np.array([255, 255, 255], np.uint16)


@dataclass(frozen=True)
class FileDescription:
    """What a library reports about a file.

    Attributes
    ----------
    reader, reader_version, vendor, level_sizes_px, objective_power, associated : as in
        `SlideMetadata`
    pixel_sizes : place -> the pixel size stated there, in the order of trust
    bounds_level0 : as in `SlideMetadata`; None when the file names no crop
    icc : the embedded colour profile
    remarks : what a person should know: images, channels and levels of the file that are not used
    """

    reader: str
    reader_version: str
    vendor: str
    level_sizes_px: tuple[tuple[int, int], ...]
    pixel_sizes: Mapping[str, PixelSize | None]
    bounds_level0: tuple[int, int, int, int] | None = None
    objective_power: float | None = None
    associated: tuple[str, ...] = ()
    icc: bytes | None = None
    remarks: tuple[str, ...] = ()


class Backend(Protocol):
    """One open file; several threads may read from it."""

    def describe(self) -> FileDescription:
        """Metadata of the file."""

    def read(self, level: int, window: Window) -> Rgb:
        """Pixels of a window that lies inside the level; raises FileReadError."""

    def associated(self, name: str) -> Rgb:
        """An associated image; raises FileReadError."""

    def close(self) -> None:
        """Release the file."""


def orientation_remark(value: object) -> str | None:
    """A remark on an orientation tag (EXIF, TIFF) that is not applied; None for the usual one."""
    if not (isinstance(value, int) and 2 <= value <= 8):
        return None
    return (
        f"its orientation tag ({value}) is not applied, as in OpenSlide and QuPath; "
        "photo viewers show it rotated or mirrored"
    )


def positive_number(value: object) -> float | None:
    """A value of a property table as a number; None when it is not a finite number above 0.

    >>> positive_number("0.25"), positive_number(None), positive_number("0"), positive_number("x")
    (0.25, None, None, None)
    """
    try:
        number = float(value)  # type: ignore[arg-type]  # TypeError is handled
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def pixel_size_of(mpp_x: object, mpp_y: object) -> PixelSize | None:
    """The pixel size of two values of a property table; None when one of them is no number."""
    x, y = positive_number(mpp_x), positive_number(mpp_y)
    return None if x is None or y is None else PixelSize(x, y)


def pixel_size_of_tags(properties: Mapping[str, Any]) -> PixelSize | None:
    """The pixel size of the TIFF resolution tags, as OpenSlide and tiffslide list them."""
    um_per_unit = {"inch": 25400.0, "centimeter": 10000.0}
    um = um_per_unit.get(str(properties.get("tiff.ResolutionUnit")).lower())
    x = positive_number(properties.get("tiff.XResolution"))
    y = positive_number(properties.get("tiff.YResolution"))
    return None if um is None or x is None or y is None else PixelSize(um / x, um / y)
