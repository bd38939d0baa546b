"""Tiles of TIFF-family slides decoded directly: the fast path beside the libraries that know the vendors' formats.

OpenSlide or tiffslide say what the levels are. A level whose page is tiled, RGB and compressed in a way known here is decoded tile by tile:
the same pixels, several times faster. Where a tile is missing in the file OpenSlide is asked, which knows by the format's rule
what stands there; in files that only tiffslide opens it is white (tiffslide itself would say black, which is tissue of a kind).
"""

import os
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]  # (h, w, 3)

# Not here: old-style JPEG, and Aperio's YCbCr flavour of JPEG 2000, whose colours are left to the reader of the file.
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
# A slide has a dozen pages; a file of thousands would take seconds to open.
_MOST_PAGES = 256
# A larger tile is a whole image of its own, and would be decoded for every small region.
_LARGEST_TILE_PX = 4096**2


@dataclass(frozen=True)
class TiledLevel:
    """Where the tiles of a level are in the file; `across` tiles make a row."""

    page: tifffile.TiffPage
    tile_h_px: int
    tile_w_px: int
    across: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]


class TiffTiles:
    """An open TIFF whose tiles are decoded on demand; safe to use from several threads.

    Parameters
    ----------
    path : TIFF file
    level_sizes_px : (width, height) of the levels, as the library names them
    missing : value of all pixels of a tile that is missing in the file; None: `read` gives None there
    padded : the tiled pages are the levels in their order, filled up to whole tiles (Philips; OpenSlide takes the filling away)
    """

    def __init__(
        self,
        path: Path,
        level_sizes_px: tuple[tuple[int, int], ...],
        *,
        missing: int | None,
        padded: bool = False,
    ) -> None:
        self._missing = missing
        self._tiff = tifffile.TiffFile(path)
        pages = tiff_pages(self._tiff)
        found: list[tifffile.TiffPage | None]
        if padded:
            tiled = [page for page in pages if page.is_tiled]
            found = [
                page if _holds(page, size) else None
                for page, size in zip(tiled, level_sizes_px, strict=False)
            ]
            found += [None] * (len(level_sizes_px) - len(found))
        else:
            # Of several pages of one size only the library knows which is the level.
            sizes = [(int(page.imagewidth), int(page.imagelength)) for page in pages]
            times = Counter(sizes)
            by_size = {
                size: page for size, page in zip(sizes, pages, strict=True) if times[size] == 1
            }
            found = [by_size.get(size) for size in level_sizes_px]
        self._levels = [
            None if page is None or not _known(page) else _level(page) for page in found
        ]
        self._file = os.open(path, os.O_RDONLY)
        self._cache: OrderedDict[tuple[int, int], Rgb] = OrderedDict()
        self._cached_bytes = 0
        self._change = threading.Lock()

    @property
    def levels(self) -> tuple[bool, ...]:
        """Which levels can be read here."""
        return tuple(level is not None for level in self._levels)

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Rgb | None:
        """Pixels of a region inside the level, uint8 (h, w, 3); None where OpenSlide is to be asked."""
        found = self._levels[level]
        if found is None:
            return None
        rows = range(y // found.tile_h_px, -(-(y + h) // found.tile_h_px))
        columns = range(x // found.tile_w_px, -(-(x + w) // found.tile_w_px))
        indices = [row * found.across + column for row in rows for column in columns]
        if self._missing is None and any(found.counts[index] == 0 for index in indices):
            return None
        out = np.empty((h, w, 3), np.uint8)
        for index in indices:
            top, left = (
                index // found.across * found.tile_h_px - y,
                index % found.across * found.tile_w_px - x,
            )
            y0, x0 = max(top, 0), max(left, 0)
            y1, x1 = min(top + found.tile_h_px, h), min(left + found.tile_w_px, w)
            if found.counts[index] == 0 and self._missing is not None:
                out[y0:y1, x0:x1] = self._missing
            else:
                # A tile that lies whole in the region is not asked for again; the next region needs the others.
                whole = (y1 - y0, x1 - x0) == (found.tile_h_px, found.tile_w_px)
                tile = self._decoded(found, index) if whole else self._tile(level, found, index)
                out[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return out

    def _tile(self, level: int, found: TiledLevel, index: int) -> Rgb:
        with self._change:
            cached = self._cache.get((level, index))
            if cached is not None:
                self._cache.move_to_end((level, index))
                return cached
        tile = self._decoded(found, index)
        with self._change:
            if (level, index) not in self._cache:
                self._cache[level, index] = tile
                self._cached_bytes += tile.nbytes
            while self._cached_bytes > _CACHE_BYTES:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tile

    def _decoded(self, found: TiledLevel, index: int) -> Rgb:
        size, start = found.counts[index], found.offsets[index]
        # Before anything is read: memory for what a damaged index names would be asked for, and a negative place is an error of the disk.
        if start < 0 or not 0 <= size <= os.fstat(self._file).st_size - start:
            raise EOFError(
                f"the file ends inside tile {index}, which should be {size} bytes at byte {start}"
            )
        data = os.pread(self._file, size, start)
        if len(data) < size:
            raise EOFError(
                f"the file was cut while it was read, inside tile {index}, {size} bytes at byte {start}"
            )
        if found.page.compression == tifffile.COMPRESSION.JPEG and _JPEG_END not in data:
            # OpenSlide refuses such a tile; the decoder here would make what is missing grey.
            raise EOFError(f"tile {index}, {size} bytes at byte {start}, is a JPEG without its end")
        decoded: Any = found.page.decode(data, index, jpegtables=found.page.jpegtables)[0]
        tile: Rgb = decoded[0]  # (depth 1, h, w, 3)
        return tile

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)
        self._tiff.close()


def tiff_pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """All pages, with the sub-resolutions of OME-TIFF."""
    pages: list[Any] = []
    for page in tiff.pages[:_MOST_PAGES]:
        pages.append(page)
        pages += list(page.pages) if page.pages is not None else []
    return [page for page in pages if isinstance(page, tifffile.TiffPage)]


def _known(page: tifffile.TiffPage) -> bool:
    return (
        page.is_tiled
        and page.dtype == np.uint8
        and page.samplesperpixel == 3
        and page.planarconfig == tifffile.PLANARCONFIG.CONTIG
        and page.photometric in _PHOTOMETRICS
        and page.compression in _COMPRESSIONS
        and page.imagedepth == 1
        and page.tilewidth * page.tilelength <= _LARGEST_TILE_PX
        and (
            page.compression == tifffile.COMPRESSION.JPEG
            or page.photometric == tifffile.PHOTOMETRIC.RGB
        )
    )


def _holds(page: tifffile.TiffPage, size_px: tuple[int, int]) -> bool:
    """Whether a page is a level of that (width, height), filled up to whole tiles."""
    spare = int(page.imagewidth) - size_px[0], int(page.imagelength) - size_px[1]
    return 0 <= spare[0] < page.tilewidth and 0 <= spare[1] < page.tilelength


def _level(page: tifffile.TiffPage) -> TiledLevel:
    across = -(-int(page.imagewidth) // int(page.tilewidth))
    down = -(-int(page.imagelength) // int(page.tilelength))
    if len(page.dataoffsets) < across * down or len(page.databytecounts) < across * down:
        raise ValueError(
            f"the index of level {page.imagewidth} x {page.imagelength} names too few tiles"
        )
    return TiledLevel(
        page,
        int(page.tilelength),
        int(page.tilewidth),
        across,
        tuple(page.dataoffsets),
        tuple(page.databytecounts),
    )
