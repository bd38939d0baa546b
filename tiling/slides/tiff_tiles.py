"""Decodes the tiles of TIFF slides, several times faster than OpenSlide.

The tiles are RGB, RGBA or indices into a palette, with the samples of a pixel together or in
separate planes. A page without tiles is decoded as a whole at the first read and kept in memory.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.slides.alpha import alpha_of_page, flatten_alpha
from tiling.slides.backend import MAX_PIXELS_IN_ONE_PIECE, WHITE_RGB, Rgb
from tiling.slides.tiff_claims import check_tile_size
from tiling.slides.tiff_headers import has_palette, size_px

_JPEG_END = b"\xff\xd9"
# Reads of neighbouring blocks share the tiles on their border.
_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class TiledLevel:
    """Where the tiles of a level are in the file; a level without tiles is one tile.

    Attributes
    ----------
    page : page of the TIFF
    tile_height_px, tile_width_px : size of a tile
    tiles_per_row, rows : number of tiles side by side, and of rows of them
    offsets, byte_counts : first byte and length of each tile or strip, in raster order, one plane
        after the other; length 0: missing
    decode : decodes a tile or strip
    jpeg_tables : that all JPEGs of the page share
    """

    page: tifffile.TiffPage
    tile_height_px: int
    tile_width_px: int
    tiles_per_row: int
    rows: int
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    decode: Callable[..., Any]
    jpeg_tables: bytes | None

    @property
    def planes(self) -> int:
        """Number of planes that hold one sample of each pixel; 1: the samples are together."""
        separate = self.page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        return int(self.page.samplesperpixel) if separate else 1

    def segments_of(self, tile: int) -> range:
        """Numbers of the parts of the file that a tile is in: one per plane; all strips."""
        if not self.page.is_tiled:
            return range(len(self.offsets))
        count = self.tiles_per_row * self.rows
        return range(tile, tile + count * self.planes, count)

    def is_missing(self, tile: int) -> bool:
        """Whether the file holds nothing of a tile."""
        return all(self.byte_counts[segment] == 0 for segment in self.segments_of(tile))

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
    """The levels of a TIFF, decoded on demand; several threads may read from it.

    Parameters
    ----------
    path : TIFF file
    pages : page of each level; None where `read` returns None
    missing_value : value of all pixels of a tile that is missing in the file; None: `read` returns
        None for such a tile

    Raises
    ------
    ValueError
        The index of a page lists too few tiles, or a page has too many pixels in one piece.
    """

    def __init__(
        self,
        path: Path,
        pages: Sequence[tifffile.TiffPage | None],
        *,
        missing_value: int | None,
    ) -> None:
        self._missing_value = missing_value
        self._levels = [None if page is None else _tiled_level(page) for page in pages]
        self._file = os.open(path, os.O_RDONLY)
        self._cache: OrderedDict[tuple[int, int], Rgb] = OrderedDict()  # (level, tile) -> pixels
        self._cached_bytes = 0
        self._cache_lock = threading.Lock()
        self._large_tile_lock = threading.Lock()

    @property
    def level_sizes_px(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of the levels that can be read."""
        return tuple(size_px(level.page) for level in self._levels if level is not None)

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
        if self._missing_value is None and any(tiled.is_missing(tile) for tile in tiles):
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
        if self._missing_value is not None and tiled.is_missing(tile):
            out[y0:y1, x0:x1] = self._missing_value
            return
        # Only a tile that reaches beyond this window is needed again, by the next window.
        inside = (y1 - y0, x1 - x0) == (tiled.tile_height_px, tiled.tile_width_px)
        pixels = self._decode(tiled, tile) if inside else self._cached_tile(level, tiled, tile)
        out[y0:y1, x0:x1] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]

    def _cached_tile(self, level: int, tiled: TiledLevel, tile: int) -> Rgb:
        if tiled.tile_height_px * tiled.tile_width_px * 3 <= _CACHE_BYTES:
            return self._from_cache(level, tiled, tile)
        with self._large_tile_lock:  # it must not be in memory once per thread
            return self._from_cache(level, tiled, tile)

    def _from_cache(self, level: int, tiled: TiledLevel, tile: int) -> Rgb:
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
            # The last one stays: a large tile would be decoded again for every window.
            while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return pixels

    def _decode(self, tiled: TiledLevel, tile: int) -> Rgb:
        """The pixels of a tile; smaller than a tile where the file has no more of them."""
        if not tiled.page.is_tiled:
            return self._decode_strips(tiled)
        segments = tiled.segments_of(tile)
        samples = [self._decode_segment(tiled, segment)[0] for segment in segments]
        return _to_rgb(tiled.page, samples)

    def _decode_strips(self, tiled: TiledLevel) -> Rgb:
        """All pixels of a page without tiles; missing strips have the missing value."""
        missing = 0 if self._missing_value is None else self._missing_value
        out = np.full((tiled.tile_height_px, tiled.tile_width_px, 3), missing, np.uint8)
        count = len(tiled.offsets) // tiled.planes
        for strip in range(count):
            segments = range(strip, count * tiled.planes, count)
            if all(tiled.byte_counts[segment] == 0 for segment in segments):
                continue
            decoded = [self._decode_segment(tiled, segment) for segment in segments]
            pixels, y = _to_rgb(tiled.page, [samples for samples, _ in decoded]), decoded[0][1]
            out[y : y + len(pixels)] = pixels
        return out

    def _decode_segment(self, tiled: TiledLevel, segment: int) -> tuple[NDArray[np.uint8], int]:
        """Samples uint8 (h, w, samples) of one tile or strip of one plane, and its first row."""
        size, start = tiled.byte_counts[segment], tiled.offsets[segment]
        # Checked before the read: a damaged index can name a size that does not fit in memory, and
        # a negative offset would be reported as an error of the disk.
        if start < 0 or not 0 <= size <= os.fstat(self._file).st_size - start:
            raise EOFError(
                f"the file ends inside tile {segment}, which should be {size} bytes at byte {start}"
            )
        data = os.pread(self._file, size, start)
        if len(data) < size:
            raise EOFError(
                f"the file became shorter while it was read, inside tile {segment}, "
                f"{size} bytes at byte {start}"
            )
        page = tiled.page
        if page.compression == tifffile.COMPRESSION.JPEG and _JPEG_END not in data:
            # OpenSlide refuses such a tile; this decoder would fill the missing part with grey.
            raise EOFError(
                f"tile {segment}, {size} bytes at byte {start}, is a JPEG without its end"
            )
        if page.is_tiled:
            check_tile_size(data, (tiled.tile_width_px, tiled.tile_height_px))
        decoded, position, _ = tiled.decode(data, segment, jpegtables=tiled.jpeg_tables)
        if decoded is None:
            raise EOFError(f"tile {segment} at byte {start} is missing in one of its planes")
        samples: NDArray[np.uint8] = decoded[0]  # (depth 1, h, w, samples)
        return samples, int(position[2])

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)


def _to_rgb(page: tifffile.TiffPage, planes: list[NDArray[np.uint8]]) -> Rgb:
    """RGB of the samples uint8 (h, w, samples) of each plane, over white."""
    samples = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)
    if has_palette(page):
        # Palettes have 16 bits per colour. Some writers use only the lower 8.
        colours: Any = np.asarray(page.colormap)
        colours = colours if colours.max() < 256 else colours >> 8
        return np.ascontiguousarray(colours.astype(np.uint8).T[samples[..., 0]])
    return flatten_alpha(samples, WHITE_RGB, alpha_of_page(page))


def _tiled_level(page: tifffile.TiffPage) -> TiledLevel:
    width, height = size_px(page)
    tile_width, tile_height = width, height
    if page.is_tiled:
        tile_width, tile_height = int(page.tilewidth), int(page.tilelength)
    if tile_width * tile_height > MAX_PIXELS_IN_ONE_PIECE:
        raise ValueError(
            f"{tile_width} x {tile_height} pixels in one piece "
            f"(limit {MAX_PIXELS_IN_ONE_PIECE:,}); convert it to a tiled pyramidal TIFF"
        )
    level = TiledLevel(
        page,
        tile_height,
        tile_width,
        tiles_per_row=-(-width // tile_width),
        rows=-(-height // tile_height),
        offsets=tuple(page.dataoffsets),
        byte_counts=tuple(page.databytecounts),
        # Both are made here: tifffile reads the file for them, and threads share its position.
        decode=page.decode,
        jpeg_tables=page.jpegtables,
    )
    strip_rows = tile_height if page.is_tiled else max(min(int(page.rowsperstrip), height), 1)
    segments = level.tiles_per_row * -(-height // strip_rows) * level.planes
    if min(len(level.offsets), len(level.byte_counts)) < segments:
        raise ValueError(f"the index of level {width} x {height} lists too few tiles")
    return level
