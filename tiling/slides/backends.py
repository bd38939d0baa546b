"""The libraries behind the one slide reader: OpenSlide, tiffslide and plain images, brought to one shape.

Each backend reads exact pixels of a level; what it cannot read it reports as `BackendError`, which the reader makes a named SlideError.
"""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tiling.slides.image_headers import OME_PLACE, PlainImage, ome_pixel_size, tiff_profile
from tiling.slides.metadata import PixelSize
from tiling.slides.tiff_tiles import TiffTiles

Rgb = NDArray[np.uint8]  # (h, w, 3)


class BackendError(Exception):
    """A library could not open or read; `str()` is its reason."""


class Described(NamedTuple):
    """What a backend knows of its file: names as in `SlideFacts`; `pixel_sizes` in the order of trust."""

    reader: str
    version: str
    vendor: str
    level_sizes_px: tuple[tuple[int, int], ...]
    pixel_sizes: list[tuple[str, PixelSize | None]]
    bounds_level0: tuple[int, int, int, int] | None
    objective_power: float | None
    associated: tuple[str, ...]
    icc: bytes | None = None


class Backend(Protocol):
    """One open file."""

    def describe(self) -> Described:
        """Facts of the file."""

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Rgb:
        """Pixels of a region that lies inside the level; raises BackendError."""

    def associated(self, name: str) -> Rgb:
        """An associated image."""

    def close(self) -> None:
        """Release the file."""


# OpenSlide places a region by level-0 coordinates divided by the *mean* of both axes' ratios: a level pixel is seldom hit exactly, and the
# sub-pixel shift would depend on where a read starts. Reading such levels in fixed cells makes a pixel's value independent of the request.
_CELL_PX = 512
# Formats whose levels are each one grid of tiles, without overlaps and without several areas (tiffslide names no vendor for plain ones).
_DIRECT_VENDORS = ("aperio", "generic-tiff", "philips", "tiff")


class OpenSlideBackend:
    """Vendor formats through OpenSlide; alpha is laid over the slide's background colour."""

    def __init__(self, path: Path) -> None:
        import openslide

        self._error = openslide.OpenSlideError
        self._version = openslide.__library_version__
        try:
            self._slide = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, openslide.OpenSlideUnsupportedFormatError) as error:
            raise BackendError(str(error)) from error
        # Kept: after an error the handle refuses even these.
        self._sizes = self._slide.level_dimensions
        self._factors = self._slide.level_downsamples
        colour = self._slide.properties.get("openslide.background-color", "FFFFFF")
        self._background = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)], np.uint16)

    def describe(self) -> Described:
        """See Backend."""
        properties = self._slide.properties
        vendor = str(properties.get("openslide.vendor", "unknown"))
        # For generic TIFF OpenSlide itself derives openslide.mpp-x from the resolution tags.
        origin = "tiff resolution tags" if vendor == "generic-tiff" else "openslide.mpp-x"
        places = [
            (
                origin,
                _pair(properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y"), origin),
            )
        ]
        if vendor == "aperio":
            places.append(
                (
                    "aperio.MPP",
                    _pair(properties.get("aperio.MPP"), properties.get("aperio.MPP"), "aperio.MPP"),
                )
            )
        if vendor != "generic-tiff" and "tiff.ResolutionUnit" in properties:
            places.append(("tiff resolution tags", _from_tags(properties)))
        keys = [f"openslide.bounds-{name}" for name in ("x", "y", "width", "height")]
        bounds = (
            tuple(int(properties[key]) for key in keys)
            if all(key in properties for key in keys)
            else None
        )
        return Described(
            "openslide",
            self._version,
            vendor,
            tuple(self._sizes),
            places,
            bounds,  # type: ignore[arg-type]
            _number(properties.get("openslide.objective-power")),
            tuple(sorted(self._slide.associated_images)),
            self._slide.color_profile.tobytes() if self._slide.color_profile is not None else None,
        )

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Rgb:
        """See Backend."""
        if float(self._factors[level]).is_integer():
            return self._request(level, y, x, h, w)
        width, height = self._sizes[level]
        out = np.empty((h, w, 3), np.uint8)
        for top in range(y // _CELL_PX * _CELL_PX, y + h, _CELL_PX):
            for left in range(x // _CELL_PX * _CELL_PX, x + w, _CELL_PX):
                cell = self._request(
                    level, top, left, min(_CELL_PX, height - top), min(_CELL_PX, width - left)
                )
                y0, y1 = max(top, y), min(top + _CELL_PX, y + h)
                x0, x1 = max(left, x), min(left + _CELL_PX, x + w)
                out[y0 - y : y1 - y, x0 - x : x1 - x] = cell[
                    y0 - top : y1 - top, x0 - left : x1 - left
                ]
        return out

    def _request(self, level: int, y: int, x: int, h: int, w: int) -> Rgb:
        factor = self._factors[level]
        try:
            image = self._slide.read_region((round(x * factor), round(y * factor)), level, (w, h))
        except self._error as error:
            raise BackendError(str(error)) from error
        return flatten_alpha(np.asarray(image), self._background)

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        try:
            return flatten_alpha(np.asarray(self._slide.associated_images[name]), self._background)
        except self._error as error:
            raise BackendError(str(error)) from error

    def close(self) -> None:
        """See Backend."""
        self._slide.close()


class TiffSlideBackend:
    """Tiled TIFFs that OpenSlide does not open (OME-TIFF and others), by tiffslide; its Zarr view gives exact pixels of every level."""

    def __init__(self, path: Path) -> None:
        import tiffslide

        with damaged_file():
            self._slide = tiffslide.TiffSlide(path)
            self._levels: list[Any] = [
                self._slide.zarr_group[str(level)] for level in range(self._slide.level_count)
            ]
            self._ome = ome_pixel_size(path)
            self._icc = tiff_profile(path)
        self._planar = str(self._slide.properties.get("tiffslide.series-axes", "YXS")).startswith(
            "S"
        )

    def describe(self) -> Described:
        """See Backend."""
        properties = self._slide.properties
        vendor = str(properties.get("tiffslide.vendor") or "tiff")
        size = _pair(
            properties.get("tiffslide.mpp-x"), properties.get("tiffslide.mpp-y"), "tiffslide.mpp-x"
        )
        return Described(
            "tiffslide",
            version("tiffslide"),
            vendor,
            tuple(self._slide.level_dimensions),
            [
                (OME_PLACE, self._ome),
                ("tiffslide.mpp-x", size),
                ("tiff resolution tags", _from_tags(properties)),
            ],
            None,
            _number(properties.get("tiffslide.objective-power")),
            tuple(sorted(self._slide.associated_images)),
            self._icc,
        )

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Rgb:
        """See Backend."""
        with damaged_file():
            array = self._levels[level]
            region = (
                np.moveaxis(array[:, y : y + h, x : x + w], 0, -1)
                if self._planar
                else array[y : y + h, x : x + w]
            )
        return flatten_alpha(np.asarray(region), _WHITE)

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        with damaged_file():
            return flatten_alpha(
                np.asarray(self._slide.associated_images[name].convert("RGBA")), _WHITE
            )

    def close(self) -> None:
        """See Backend."""
        self._slide.close()


class DirectTiles:
    """A library that knows the format, with the tiles of the file decoded directly wherever that gives the same pixels."""

    def __init__(self, library: Backend, path: Path) -> None:
        self._library = library
        missing = None if isinstance(library, OpenSlideBackend) else 255
        described = library.describe()
        self._tiles: TiffTiles | None = None
        if described.vendor in _DIRECT_VENDORS:
            with damaged_file():
                self._tiles = TiffTiles(
                    path,
                    described.level_sizes_px,
                    missing=missing,
                    padded=described.vendor == "philips",
                )
        levels = self._tiles.levels if self._tiles is not None else ()
        self._described = described
        if any(levels):
            self._described = described._replace(
                reader=f"{described.reader}, tiles by tifffile",
                version=f"{described.version}, {version('tifffile')}",
            )

    def describe(self) -> Described:
        """See Backend."""
        return self._described

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Rgb:
        """See Backend."""
        if self._tiles is not None:
            with damaged_file():
                found = self._tiles.read(level, y, x, h, w)
            if found is not None:
                return found
        return self._library.read(level, y, x, h, w)

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        return self._library.associated(name)

    def close(self) -> None:
        """See Backend."""
        if self._tiles is not None:
            self._tiles.close()
        self._library.close()


class PlainBackend:
    """PNG, JPEG, BMP or a TIFF without tiles: one level, decoded once and kept in memory."""

    def __init__(self, path: Path) -> None:
        with damaged_file():
            self._image = PlainImage(path)
        self._pixels: Rgb | None = None
        self._decode = threading.Lock()

    def describe(self) -> Described:
        """See Backend."""
        image = self._image
        return Described(
            "pillow",
            PIL.__version__,
            image.format,
            ((image.width, image.height),),
            [(image.resolution_place, image.pixel_size)],
            None,
            None,
            (),
            image.icc,
        )

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Rgb:
        """See Backend."""
        with self._decode:
            if self._pixels is None:
                with damaged_file():
                    self._pixels = flatten_alpha(self._image.decode(), _WHITE)
        return self._pixels[y : y + h, x : x + w].copy()

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        raise BackendError(f"a plain image has no associated image {name!r}")

    def close(self) -> None:
        """See Backend."""
        self._pixels = None


_WHITE = np.array([255, 255, 255], np.uint16)


def flatten_alpha(pixels: NDArray[np.uint8], background: NDArray[np.uint16]) -> Rgb:
    """RGB(A) uint8 (h, w, 3 or 4) laid over a background colour uint16 (3,)."""
    if pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    rgb, alpha = pixels[..., :3], pixels[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgb)
    wide = alpha.astype(np.uint16)
    return ((rgb * wide + background * (255 - wide) + 127) // 255).astype(np.uint8)


@contextmanager
def damaged_file() -> Iterator[None]:
    """Turn what TIFF and image parsers raise on damaged bytes into BackendError; errors of the disk itself pass."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # ENOSPC, EIO, a lost mount: the job fails, not the slide
        raise BackendError(f"{type(error).__name__}: {error}") from error


_DAMAGE: tuple[type[BaseException], ...] = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, SyntaxError, ArithmeticError, EOFError, MemoryError,
    PIL.Image.DecompressionBombError, struct.error,
)  # fmt: skip


def _number(value: Any) -> float | None:  # noqa: ANN401  # text or number from a property table
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _pair(x: Any, y: Any, origin: str) -> PixelSize | None:  # noqa: ANN401
    mpp_x, mpp_y = _number(x), _number(y)
    return None if mpp_x is None or mpp_y is None else PixelSize(mpp_x, mpp_y, origin)


def _from_tags(properties: Any) -> PixelSize | None:  # noqa: ANN401
    um = {"inch": 25400.0, "centimeter": 10000.0}.get(
        str(properties.get("tiff.ResolutionUnit")).lower()
    )
    x, y = _number(properties.get("tiff.XResolution")), _number(properties.get("tiff.YResolution"))
    return (
        None
        if um is None or x is None or y is None
        else PixelSize(um / x, um / y, "tiff resolution tags")
    )
