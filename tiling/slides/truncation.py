"""Whether a TIFF slide is truncated; the index of the file shows it before any pixel is read."""

from pathlib import Path

import numpy as np
import tifffile

from tiling.slides.read_errors import FileReadError, file_read_errors
from tiling.slides.tiff_directories import is_tiff, open_tiff
from tiling.slides.tiff_headers import tiff_pages


def truncation_problem(path: Path) -> str | None:
    """How much of a slide lies beyond the end of its file, with the remedy.

    An incomplete copy opens like a complete slide when the index is at the start of the file, as in
    SVS files.

    Returns
    -------
    str or None
        None when nothing is missing, or when the format has no such index (MIRAX, DICOM).

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    if not is_tiff(path):
        return None
    size = path.stat().st_size
    try:
        with file_read_errors(), open_tiff(path) as tiff:
            ends = _tile_ends(tiff)
    except FileReadError:
        return None  # a damaged index: the function that opens the slide reports it
    beyond = int((ends > size).sum())
    if not beyond:
        return None
    return (
        f"{path}: the file is truncated: {beyond} of its {len(ends)} tiles lie beyond its end "
        f"(it has {size:,} bytes and should have {int(ends.max()):,} or more); copy it again"
    )


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
