"""Decodes the tiles of TIFF slides directly, several times faster than OpenSlide and tiffslide.

OpenSlide or tiffslide report what the levels are. A level is decoded here, tile by tile, if its
page is tiled, is RGB, and has one of the compressions below; the pixels are the same. A tile that
is missing in the file is left to OpenSlide, which follows the rule of the format. In files that
only tiffslide opens, a missing tile is white (tiffslide itself would give black, which looks like
tissue).
"""

import os
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tiling.raster.geometry import Window
from tiling.slides.backend import Rgb
from tiling.slides.tiff_headers import tiff_pages

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
_PHOTOMETRICS = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
_JPEG_END = b"\xff\xd9"
# Reads of neighbouring blocks share the tiles on their border.
_CACHE_BYTES = 64 << 20
# A larger tile is an image of its own; it would be decoded again for every small window.
_MAX_TILE_PX = 4096**2


@dataclass(frozen=True)
class TiledLevel:
    """Where the tiles of a level are in the file.

    Attributes
    ----------
    page : page of the TIFF
    tile_height_px, tile_width_px : size of a tile
    tiles_per_row : number of tiles side by side
    offsets, byte_counts : first byte and length of each tile, in raster order; length 0: missing
    """

    page: tifffile.TiffPage
    tile_height_px: int
    tile_width_px: int
    tiles_per_row: int
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]

    def tiles_under(self, window: Window) -> list[int]:
        """Numbers of the tiles that a window overlaps, in raster order."""
        top, bottom = window.y // self.tile_height_px, -(-window.bottom // self.tile_height_px)
        left, right = window.x // self.tile_width_px, -(-window.right // self.tile_width_px)
        return [
            row * self.tiles_per_row + column
            for row in range(top, bottom)
            for column in range(left, right)
        ]

    def position(self, tile: int) -> tuple[int, int]:
        """First row and column of a tile, in pixels of the level."""
        row, column = divmod(tile, self.tiles_per_row)
        return row * self.tile_height_px, column * self.tile_width_px


class TiffTiles:
    """An open TIFF whose tiles are decoded on demand; several threads may read from it.

    Parameters
    ----------
    path : TIFF file
    level_sizes_px : (width, height) of the levels, as the library reports them
    missing_value : value of all pixels of a tile that is missing in the file; None: `read` returns
        None for such a tile
    padded : the tiled pages are the levels in their order, padded to whole tiles (Philips;
        OpenSlide removes the padding)

    Raises
    ------
    ValueError
        The index of a page lists too few tiles.
    """

    def __init__(
        self,
        path: Path,
        level_sizes_px: tuple[tuple[int, int], ...],
        *,
        missing_value: int | None,
        padded: bool = False,
    ) -> None:
        self._missing_value = missing_value
        self._tiff = tifffile.TiffFile(path)
        pages = tiff_pages(self._tiff)
        find_pages = _padded_pages if padded else _pages_of_unique_size
        self._levels = [
            None if page is None or not _can_decode(page) else _tiled_level(page)
            for page in find_pages(pages, level_sizes_px)
        ]
        self._file = os.open(path, os.O_RDONLY)
        self._cache: OrderedDict[tuple[int, int], Rgb] = OrderedDict()  # (level, tile) -> pixels
        self._cached_bytes = 0
        self._cache_lock = threading.Lock()

    @property
    def readable_levels(self) -> tuple[bool, ...]:
        """Whether each level can be decoded here."""
        return tuple(level is not None for level in self._levels)

    def read(self, level: int, window: Window) -> Rgb | None:
        """Pixels of a window inside the level; None where the library must be asked.

        Raises
        ------
        Exception
            A tile is damaged: EOFError, or an error of its decoder.
        """
        tiled = self._levels[level]
        if tiled is None:
            return None
        tiles = tiled.tiles_under(window)
        if self._missing_value is None and any(tiled.byte_counts[tile] == 0 for tile in tiles):
            return None
        out = np.empty((window.height, window.width, 3), np.uint8)
        for tile in tiles:
            self._copy_tile(level, tiled, tile, window, out)
        return out

    def _copy_tile(
        self, level: int, tiled: TiledLevel, tile: int, window: Window, out: Rgb
    ) -> None:
        """Copy the part of a tile that lies in the window to its place in `out`."""
        tile_y, tile_x = tiled.position(tile)
        top, left = tile_y - window.y, tile_x - window.x  # in `out`
        y0, x0 = max(top, 0), max(left, 0)
        y1 = min(top + tiled.tile_height_px, window.height)
        x1 = min(left + tiled.tile_width_px, window.width)
        if tiled.byte_counts[tile] == 0 and self._missing_value is not None:
            out[y0:y1, x0:x1] = self._missing_value
            return
        # Only a tile that reaches beyond this window is needed again, by the next window.
        inside = (y1 - y0, x1 - x0) == (tiled.tile_height_px, tiled.tile_width_px)
        pixels = self._decode(tiled, tile) if inside else self._cached_tile(level, tiled, tile)
        out[y0:y1, x0:x1] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]

    def _cached_tile(self, level: int, tiled: TiledLevel, tile: int) -> Rgb:
        key = level, tile
        with self._cache_lock:
            cached = self._cache.get(key)
            if cached is not None:
                self._cache.move_to_end(key)
                return cached
        pixels = self._decode(tiled, tile)
        with self._cache_lock:
            if key not in self._cache:
                self._cache[key] = pixels
                self._cached_bytes += pixels.nbytes
            while self._cached_bytes > _CACHE_BYTES:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return pixels

    def _decode(self, tiled: TiledLevel, tile: int) -> Rgb:
        size, start = tiled.byte_counts[tile], tiled.offsets[tile]
        # Checked before the read: a damaged index can name a size that does not fit in memory, and
        # a negative offset would be reported as an error of the disk.
        if start < 0 or not 0 <= size <= os.fstat(self._file).st_size - start:
            raise EOFError(
                f"the file ends inside tile {tile}, which should be {size} bytes at byte {start}"
            )
        data = os.pread(self._file, size, start)
        if len(data) < size:
            raise EOFError(
                f"the file became shorter while it was read, inside tile {tile}, "
                f"{size} bytes at byte {start}"
            )
        page = tiled.page
        if page.compression == tifffile.COMPRESSION.JPEG and _JPEG_END not in data:
            # OpenSlide refuses such a tile; this decoder would fill the missing part with grey.
            raise EOFError(f"tile {tile}, {size} bytes at byte {start}, is a JPEG without its end")
        decoded: Any = page.decode(data, tile, jpegtables=page.jpegtables)[0]
        pixels: Rgb = decoded[0]  # (depth 1, h, w, 3)
        return pixels

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)
        self._tiff.close()


def _padded_pages(
    pages: list[tifffile.TiffPage], level_sizes_px: tuple[tuple[int, int], ...]
) -> list[tifffile.TiffPage | None]:
    """For each level the tiled page at the same place of the order, if its size fits."""
    tiled = [page for page in pages if page.is_tiled]
    matches: list[tifffile.TiffPage | None] = [
        page if _is_padded_level(page, size) else None
        for page, size in zip(tiled, level_sizes_px, strict=False)
    ]
    return matches + [None] * (len(level_sizes_px) - len(matches))


def _is_padded_level(page: tifffile.TiffPage, size_px: tuple[int, int]) -> bool:
    """Whether a page is a level of that (width, height), padded to whole tiles."""
    padding = int(page.imagewidth) - size_px[0], int(page.imagelength) - size_px[1]
    return 0 <= padding[0] < page.tilewidth and 0 <= padding[1] < page.tilelength


def _pages_of_unique_size(
    pages: list[tifffile.TiffPage], level_sizes_px: tuple[tuple[int, int], ...]
) -> list[tifffile.TiffPage | None]:
    """For each level the page of its size; None if several pages have that size, or none."""
    sizes = [(int(page.imagewidth), int(page.imagelength)) for page in pages]
    frequency = Counter(sizes)
    page_of_size = {
        size: page for size, page in zip(sizes, pages, strict=True) if frequency[size] == 1
    }
    return [page_of_size.get(size) for size in level_sizes_px]


def _can_decode(page: tifffile.TiffPage) -> bool:
    is_jpeg = page.compression == tifffile.COMPRESSION.JPEG
    return (
        page.is_tiled
        and page.dtype == np.uint8
        and page.samplesperpixel == 3
        and page.planarconfig == tifffile.PLANARCONFIG.CONTIG
        and page.photometric in _PHOTOMETRICS
        and page.compression in _COMPRESSIONS
        and page.imagedepth == 1
        and page.tilewidth * page.tilelength <= _MAX_TILE_PX
        and (is_jpeg or page.photometric == tifffile.PHOTOMETRIC.RGB)
    )


def _tiled_level(page: tifffile.TiffPage) -> TiledLevel:
    tiles_per_row = -(-int(page.imagewidth) // int(page.tilewidth))
    rows = -(-int(page.imagelength) // int(page.tilelength))
    if min(len(page.dataoffsets), len(page.databytecounts)) < tiles_per_row * rows:
        raise ValueError(
            f"the index of level {page.imagewidth} x {page.imagelength} lists too few tiles"
        )
    return TiledLevel(
        page,
        int(page.tilelength),
        int(page.tilewidth),
        tiles_per_row,
        tuple(page.dataoffsets),
        tuple(page.databytecounts),
    )
