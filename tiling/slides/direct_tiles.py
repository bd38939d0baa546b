"""A backend that decodes the tiles of a file directly where that gives the same pixels."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tiling.raster.geometry import Window
from tiling.slides.backend import Backend, FileDescription, Rgb
from tiling.slides.openslide_backend import OpenSlideBackend
from tiling.slides.read_errors import file_read_errors
from tiling.slides.tiff_tiles import TiffTiles

# Formats in which each level is one grid of tiles, without overlaps and without several areas. The
# name is "tiff" where tiffslide reports no vendor.
_DIRECT_VENDORS = ("aperio", "generic-tiff", "philips", "tiff")


class DirectTilesBackend:
    """Another backend, with its tiles decoded directly wherever that is possible.

    Parameters
    ----------
    library : open backend of the same file; it says what the levels are, and reads the rest
    path : the file
    """

    def __init__(self, library: Backend, path: Path) -> None:
        self._library = library
        self._description = library.describe()
        self._tiles: TiffTiles | None = None
        if self._description.vendor not in _DIRECT_VENDORS:
            return
        with file_read_errors():
            self._tiles = TiffTiles(
                path,
                self._description.level_sizes_px,
                missing_value=None if isinstance(library, OpenSlideBackend) else 255,
                padded=self._description.vendor == "philips",
            )
        if any(self._tiles.readable_levels):
            self._description = replace(
                self._description,
                reader=f"{self._description.reader}, tiles by tifffile",
                reader_version=f"{self._description.reader_version}, {version('tifffile')}",
            )

    def describe(self) -> FileDescription:
        """See Backend."""
        return self._description

    def read(self, level: int, window: Window) -> Rgb:
        """See Backend."""
        if self._tiles is not None:
            with file_read_errors():
                pixels = self._tiles.read(level, window)
            if pixels is not None:
                return pixels
        return self._library.read(level, window)

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        return self._library.associated(name)

    def close(self) -> None:
        """See Backend."""
        if self._tiles is not None:
            self._tiles.close()
        self._library.close()
