"""A backend that decodes the tiles of a file directly where that gives the same pixels."""

import math
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import tifffile

from tiling.raster.geometry import Window
from tiling.slides.alpha import UNUSED_CHANNEL, has_unused_channel
from tiling.slides.backend import Backend, FileDescription, Rgb
from tiling.slides.read_errors import NotBrightfieldError, RefusedFileError, file_read_errors
from tiling.slides.tiff_directories import open_tiff
from tiling.slides.tiff_headers import (
    check_fourth_channel,
    has_palette,
    rgb_problem,
    size_px,
    tiff_pages,
)
from tiling.slides.tiff_tiles import TiffTiles

# Formats in which each level is one grid of tiles, without overlaps and without several areas.
DIRECT_VENDORS = ("aperio", "philips")
# Old-style JPEG and Aperio's YCbCr variant of JPEG 2000 are left to the library: their colours
# differ.
_COMPRESSIONS = (
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.APERIO_JP2000_RGB,
    tifffile.COMPRESSION.JPEG2000,
    tifffile.COMPRESSION.ZSTD,
)
# A larger tile is an image of its own; it would be decoded again for every small window.
_MAX_TILE_PX = 4096**2


class DirectTilesBackend:
    """Another backend, with its tiles decoded directly wherever that is possible.

    Parameters
    ----------
    library : open backend of the same file; it says what the levels are, and reads the rest. A tile
        that is missing in the file is left to it: it follows the rule of the format
    path : the file
    """

    def __init__(self, library: Backend, path: Path) -> None:
        self._library = library
        self._description = library.describe()
        self._tiff: tifffile.TiffFile | None = None
        self._tiles: TiffTiles | None = None
        if self._description.vendor not in DIRECT_VENDORS:
            return
        with file_read_errors(), ExitStack() as on_error:
            on_error.callback(self.close)
            self._tiff = open_tiff(path)
            pages = self._pages(tiff_pages(self._tiff))
            self._tiles = TiffTiles(path, pages, missing_value=None)
            on_error.pop_all()
        decoded = [page for page in pages if page is not None]
        if decoded:
            self._description = replace(
                self._description,
                reader=f"{self._description.reader}, tiles by tifffile",
                reader_version=f"{self._description.reader_version}, {tifffile.__version__}",
                remarks=(UNUSED_CHANNEL,) if has_unused_channel(decoded[0]) else (),
            )

    def _pages(self, pages: list[tifffile.TiffPage]) -> list[tifffile.TiffPage | None]:
        """For each level the page that is decoded here, or None.

        Raises
        ------
        RefusedFileError
            Another page of the file is larger than level 0.
        NotBrightfieldError
            The file is a stack of planes, or the library takes a fourth channel for alpha that is
            none.
        """
        sizes = self._description.level_sizes_px
        if self._description.vendor == "philips":
            matches = _padded_pages(pages, sizes)
        else:
            matches = _pages_of_unique_size(pages, sizes)
            _check_largest(pages, sizes[0])
        decoded = [page if page is not None and _can_decode(page) else None for page in matches]
        if None in decoded:
            check_fourth_channel(pages)
        return decoded

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
        if self._tiff is not None:
            self._tiff.close()
        self._library.close()


def _check_largest(pages: list[tifffile.TiffPage], level0_px: tuple[int, int]) -> None:
    sizes = [size_px(page) for page in pages]
    planes = sizes.count(level0_px)
    if planes > 1:
        raise NotBrightfieldError(f"{planes} planes of one size, not one RGB image")
    largest = max(sizes, key=math.prod)
    if math.prod(largest) > math.prod(level0_px):
        raise RefusedFileError(
            f"OpenSlide takes {level0_px[0]} x {level0_px[1]} px for the full resolution, but "
            f"a page has {largest[0]} x {largest[1]} px; export it again as a tiled pyramidal TIFF"
        )


def _padded_pages(
    pages: list[tifffile.TiffPage], level_sizes_px: tuple[tuple[int, int], ...]
) -> list[tifffile.TiffPage | None]:
    """For each level the tiled page at the same place of the order, if its size fits.

    The tiled pages of Philips are the levels in their order, padded to whole tiles; OpenSlide
    removes the padding.
    """
    tiled = [page for page in pages if page.is_tiled]
    matches: list[tifffile.TiffPage | None] = [
        page if _is_padded_level(page, size) else None
        for page, size in zip(tiled, level_sizes_px, strict=False)
    ]
    return matches + [None] * (len(level_sizes_px) - len(matches))


def _is_padded_level(page: tifffile.TiffPage, level_size_px: tuple[int, int]) -> bool:
    """Whether a page is a level of that (width, height), padded to whole tiles."""
    width, height = size_px(page)
    padding = width - level_size_px[0], height - level_size_px[1]
    return 0 <= padding[0] < page.tilewidth and 0 <= padding[1] < page.tilelength


def _pages_of_unique_size(
    pages: list[tifffile.TiffPage], level_sizes_px: tuple[tuple[int, int], ...]
) -> list[tifffile.TiffPage | None]:
    """For each level the page of its size; None if several pages have that size, or none."""
    sizes = [size_px(page) for page in pages]
    frequency = Counter(sizes)
    page_of_size = {
        size: page for size, page in zip(sizes, pages, strict=True) if frequency[size] == 1
    }
    return [page_of_size.get(size) for size in level_sizes_px]


def _can_decode(page: tifffile.TiffPage) -> bool:
    return (
        page.is_tiled
        and rgb_problem(page) is None
        and not has_palette(page)
        and page.compression in _COMPRESSIONS
        and page.tilewidth * page.tilelength <= _MAX_TILE_PX
    )
