"""Whether a TIFF-family slide ends before its tiles do: told by the index of the file, before any pixel is read."""

from pathlib import Path

import numpy as np
import tifffile

from tiling.slides.backends import BackendError, damaged_file
from tiling.slides.image_headers import is_tiff
from tiling.slides.tiff_tiles import tiff_pages


def cut_problem(path: Path) -> str | None:
    """What of a slide lies beyond the end of its file, with the remedy; None when nothing does, or where no index tells (MIRAX, DICOM).

    A copy that broke off opens like a whole slide when its index stands at the front, as that of SVS files does.

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    if not is_tiff(path):
        return None
    size = path.stat().st_size
    try:
        with damaged_file(), tifffile.TiffFile(path) as tiff:
            pieces = [
                (
                    np.asarray(page.dataoffsets, np.float64),
                    np.asarray(page.databytecounts, np.float64),
                )
                for page in tiff_pages(tiff)
            ]
    except BackendError:
        return None  # a damaged index: who opens the slide says so
    # 64-bit places of a damaged index would overflow as integers; empty pieces (count 0) are those that a format leaves out.
    ends = np.concatenate(
        [
            (offsets + counts)[counts > 0]
            for offsets, counts in pieces
            if len(offsets) == len(counts)
        ]
        or [np.empty(0)]
    )
    beyond = int((ends > size).sum())
    if not beyond:
        return None
    return (
        f"{path}: the file was cut: {beyond} of its {len(ends)} tiles lie beyond its end "
        f"(it has {size:,} bytes and should have {int(ends.max()):,} or more); copy it again"
    )
