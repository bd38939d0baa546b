"""A second reader beside ours: what tiffslide takes for the slide in a TIFF, and how large."""

import math
import warnings
from pathlib import Path

from tiling.slides.backend import positive_number
from tiling.slides.metadata import SlideMetadata
from tiling.slides.tiff_directories import is_tiff

_PIXEL_SIZE_TOLERANCE = 0.01


def tiffslide_differences(metadata: SlideMetadata) -> list[str]:
    """How tiffslide reads a TIFF otherwise than we do; empty if it agrees or for other files.

    Programs that use tiffslide show other pixels or lengths then. It is no reason to refuse the
    slide: tiffslide takes the first series and its pixel size.

    Parameters
    ----------
    metadata : of the open slide, so that the file has been examined with limits before
    """
    path = Path(metadata.path)
    if not is_tiff(path):
        return []
    import tiffslide

    try:
        with warnings.catch_warnings(), tiffslide.TiffSlide(path) as slide:
            warnings.simplefilter("ignore")  # about the metadata of vendors
            size_px, mpp = slide.dimensions, slide.properties.get("tiffslide.mpp-x")
    except Exception as error:  # tiffslide raises errors of any type for files that it cannot read
        return [f"tiffslide cannot read this file ({type(error).__name__})"]
    differences = []
    if tuple(size_px) != tuple(metadata.level_sizes_px[0]):
        differences.append(
            f"tiffslide takes an image of {size_px[0]} x {size_px[1]} px for the slide"
        )
    mpp = positive_number(mpp)
    ours = metadata.mpp_x
    if mpp and ours and not math.isclose(mpp, ours, rel_tol=_PIXEL_SIZE_TOLERANCE):
        differences.append(f"tiffslide reads a pixel size of {mpp:.5g} um")
    return differences
