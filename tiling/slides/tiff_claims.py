"""Sizes that a TIFF claims, compared with the file and with limits.

OpenSlide asks for the memory of a tile before it reads it, and its memory allocator ends the
process if there is not enough. One flipped bit in a tag is enough for that. So claims are checked
before a library opens the file.
"""

from collections.abc import Iterator
from pathlib import Path

from tiling.slides.codestream_sizes import claimed_size_px
from tiling.slides.read_errors import FileReadError
from tiling.slides.tiff_directories import (
    COMPRESSION,
    IMAGE_LENGTH,
    IMAGE_WIDTH,
    ROWS_PER_STRIP,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_LENGTH,
    TILE_OFFSETS,
    TILE_WIDTH,
    Directory,
    DirectoryReader,
)

# 256 MB as RGBA in OpenSlide. Slides have tiles of 240 to 4096 px on a side.
MAX_TILE_PX = 1 << 26
# JPEG and JPEG 2000 are coded in blocks: a tile may be larger by less than one of them.
_CODING_BLOCK_PX = 64
_CODESTREAMS = (7, 33003, 33005, 34712)  # JPEG, and JPEG 2000 of Aperio and of others
# Tiles whose first bytes are read when a slide is opened: all of a small file, some of a large one.
# `check_tile_size` checks every tile that is decoded.
_EXAMINED_TILES = 16
_EXAMINED_BYTES = 4096


def check_tiff_claims(path: Path) -> None:
    """Refuse a TIFF whose claims cannot be true, or need more memory than a slide does.

    Raises
    ------
    FileReadError
        A loop of directories, a huge tile, fewer tiles than the image needs, or a tile that is
        larger than the directory says.
    OSError
        The disk or mount fails.
    """
    with path.open("rb") as file:
        reader = DirectoryReader(file)
        for directory in reader.directories():
            if reader.is_ndpi:
                continue  # one JPEG for each level; OpenSlide reads it in parts
            _check_tiles(reader, directory)
            _check_codestreams(reader, directory)


def check_tile_size(data: bytes, tile_px: tuple[int, int]) -> None:
    """Refuse a compressed tile that is larger than (width, height), before it is decoded.

    Raises
    ------
    FileReadError
        The tile claims another size.
    """
    size = claimed_size_px(data)
    if size is None:
        return
    if any(claimed > px + _CODING_BLOCK_PX for claimed, px in zip(size, tile_px, strict=True)):
        raise FileReadError(
            f"a tile claims {size[0]} x {size[1]} px, but tiles of this level have "
            f"{tile_px[0]} x {tile_px[1]} px"
        )


def _check_tiles(reader: DirectoryReader, directory: Directory) -> None:
    if TILE_WIDTH not in directory or TILE_LENGTH not in directory:
        return
    width, height = reader.value(directory, IMAGE_WIDTH), reader.value(directory, IMAGE_LENGTH)
    tile_width, tile_height = _tile_size(reader, directory)
    if tile_width * tile_height > MAX_TILE_PX:
        raise FileReadError(
            f"the file claims tiles of {tile_width} x {tile_height} px (limit {MAX_TILE_PX:,} px)"
        )
    if min(tile_width, tile_height) < 1:
        raise FileReadError(f"the file claims tiles of {tile_width} x {tile_height} px")
    needed = -(-width // tile_width) * -(-height // tile_height)
    listed = directory[TILE_OFFSETS].number if TILE_OFFSETS in directory else 0
    if needed > listed:
        raise FileReadError(
            f"an image of {width} x {height} px in tiles of {tile_width} x {tile_height} px "
            f"has {needed} tiles, but the file lists too few tiles ({listed})"
        )


def _check_codestreams(reader: DirectoryReader, directory: Directory) -> None:
    """Check the first bytes of some tiles of a page, the first and the last among them."""
    if reader.value(directory, COMPRESSION) not in _CODESTREAMS:
        return
    is_tiled = TILE_OFFSETS in directory
    offsets = directory.get(TILE_OFFSETS if is_tiled else STRIP_OFFSETS)
    byte_counts = directory.get(TILE_BYTE_COUNTS if is_tiled else STRIP_BYTE_COUNTS)
    if offsets is None or byte_counts is None:
        return
    size = _tile_size(reader, directory) if is_tiled else _strip_size(reader, directory)
    for tile in _spread(min(offsets.number, byte_counts.number)):
        length = min(reader.value_at(byte_counts, tile), _EXAMINED_BYTES)
        check_tile_size(reader.bytes_at(reader.value_at(offsets, tile), length), size)


def _tile_size(reader: DirectoryReader, directory: Directory) -> tuple[int, int]:
    return reader.value(directory, TILE_WIDTH), reader.value(directory, TILE_LENGTH)


def _strip_size(reader: DirectoryReader, directory: Directory) -> tuple[int, int]:
    height = reader.value(directory, IMAGE_LENGTH)
    rows = reader.value(directory, ROWS_PER_STRIP, height)
    return reader.value(directory, IMAGE_WIDTH), min(rows, height)


def _spread(count: int) -> Iterator[int]:
    """At most _EXAMINED_TILES numbers from 0 to count - 1, evenly spread, with both ends."""
    if count <= _EXAMINED_TILES:
        yield from range(count)
    else:
        yield from ((count - 1) * i // (_EXAMINED_TILES - 1) for i in range(_EXAMINED_TILES))
