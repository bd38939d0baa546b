"""Whether a slide is truncated: headers and the index of the file show it before it is decoded."""

import mmap
from pathlib import Path
from typing import IO

import numpy as np
import tifffile

from tiling.slides.read_errors import FileReadError, file_read_errors
from tiling.slides.tiff_directories import DirectoryReader, is_tiff, open_tiff
from tiling.slides.tiff_headers import tiff_pages

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_FRAME = 12  # bytes of a chunk beside its data: length, name and checksum
_MAX_PNG_CHUNKS = 1_000_000
_JPEG_SIGNATURE, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


def truncation_problem(path: Path) -> str | None:
    """How much of a slide lies beyond the end of its file, with the remedy.

    An incomplete copy opens like a complete slide when the index is at the start of the file, as in
    SVS files. When the index is at the end, all of it or its last pages are missing.

    Returns
    -------
    str or None
        None when nothing is missing, or when the format does not say where its data end (MIRAX,
        DICOM).

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    missing = _missing_of_tiff(path) if is_tiff(path) else _missing_of_image(path)
    if missing is None:
        return None
    what, needed_bytes = missing
    should = "" if needed_bytes is None else f" and should have {needed_bytes:,} or more"
    return (
        f"{path}: the file is truncated: {what} "
        f"(it has {path.stat().st_size:,} bytes{should}); copy it again"
    )


def _missing_of_tiff(path: Path) -> tuple[str, int] | None:
    """What lies beyond the end of a TIFF, and the bytes that the file should have."""
    size, index_end = path.stat().st_size, _index_end(path)
    ends = np.empty(0)
    try:
        with file_read_errors(), open_tiff(path) as tiff:
            ends = _tile_ends(tiff)
    except FileReadError:
        pass  # a damaged index: the function that opens the slide reports it
    needed_bytes = max(index_end, int(ends.max(initial=0)))
    beyond = int((ends > size).sum())
    if beyond:
        return f"{beyond} of its {len(ends)} tiles lie beyond its end", needed_bytes
    if index_end > size:
        return "a part of its index lies beyond its end", needed_bytes
    return None


def _index_end(path: Path) -> int:
    """The byte after all directories of a TIFF that can be found, and their tables."""
    with path.open("rb") as file:
        try:
            reader = DirectoryReader(file)
            for _ in reader.directories():
                pass
        except FileReadError:
            return 0  # a damaged index
    return reader.index_end


def _tile_ends(tiff: tifffile.TiffFile) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The byte after each tile of all pages; without the empty tiles that some formats allow.

    Floats, because 64-bit offsets of a damaged index would overflow as integers.
    """
    ends = [np.empty(0)]
    for page in tiff_pages(tiff):
        offsets = np.asarray(page.dataoffsets, np.float64)
        byte_counts = np.asarray(page.databytecounts, np.float64)
        if len(offsets) == len(byte_counts):
            ends.append((offsets + byte_counts)[byte_counts > 0])
    return np.concatenate(ends)


def _missing_of_image(path: Path) -> tuple[str, int | None] | None:
    """What a PNG or JPEG lacks; None for other formats."""
    with path.open("rb") as file:
        start = file.read(len(_PNG_SIGNATURE))
        if start == _PNG_SIGNATURE:
            return _missing_of_png(file)
        if start.startswith(_JPEG_SIGNATURE):
            return _missing_of_jpeg(file)
    return None


def _missing_of_png(file: IO[bytes]) -> tuple[str, int] | None:
    """A chunk that ends after the end of the file; the last chunk has the name IEND."""
    size = file.seek(0, 2)
    start = len(_PNG_SIGNATURE)
    for _ in range(_MAX_PNG_CHUNKS):
        file.seek(start)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big") if len(head) == 8 else 0
        start += length + _PNG_CHUNK_FRAME
        if start > size:
            return "its last part lies beyond its end", start
        if head[4:] == b"IEND":
            return None
    return None


def _missing_of_jpeg(file: IO[bytes]) -> tuple[str, None] | None:
    """The marker of the end; it is not the last one where a camera adds data after it."""
    size = file.seek(0, 2)
    # The first half may hold a thumbnail, which has such a marker too.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.rfind(_JPEG_END, size // 2) >= 0:
            return None
    return "it ends before its image does", None
