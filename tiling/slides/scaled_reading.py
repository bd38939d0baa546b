"""Reads blocks of a slide at the working resolution.

Stored pixels are area averages (`tiling.raster.area_average`): an array does not depend on the
blocks in which it was read.
"""

import logging

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tiling.raster.area_average import area_average, source_span
from tiling.raster.geometry import Block, Window
from tiling.slide_errors import SlideError
from tiling.slides.slide_reader import Slide
from tiling.slides.working_resolution import ScalePlan, plan_thumbnail

# Source pixels of one read: 2048 x 2048 RGB is 12 MB, and 50 MB as floats while it is averaged.
_READ_PX = 2048
_SMALL_LEVEL_PX = 4_000_000
# A single colour at least this bright in all channels is that of glass or of transparency.
_MIN_GLASS = 200

log = logging.getLogger(__name__)


def read_scaled(slide: Slide, plan: ScalePlan, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Read a block of the stored array, uint8 (h, w, 3).

    The memory is bounded, and the values do not depend on the block.

    Parameters
    ----------
    slide : open slide
    plan : of that slide
    rows, columns : block in stored pixels, inside the geometry of the plan

    Raises
    ------
    SlideError
        See `Slide.read`.
    """
    step_y = max(int(_READ_PX / plan.reduction_y), 1)
    step_x = max(int(_READ_PX / plan.reduction_x), 1)
    if rows.stop - rows.start <= step_y and columns.stop - columns.start <= step_x:
        return _read_at_once(slide, plan, (rows, columns))
    out = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
    for top in range(rows.start, rows.stop, step_y):
        for left in range(columns.start, columns.stop, step_x):
            bottom, right = min(top + step_y, rows.stop), min(left + step_x, columns.stop)
            part = _read_at_once(slide, plan, (slice(top, bottom), slice(left, right)))
            out_rows = slice(top - rows.start, bottom - rows.start)
            out_columns = slice(left - columns.start, right - columns.start)
            out[out_rows, out_columns] = part
    return out


def read_thumbnail(slide: Slide, max_px: int) -> NDArray[np.uint8]:
    """The whole slide with a longest side of at most max_px, uint8 (h, w, 3).

    It needs no pixel size.

    Raises
    ------
    SlideError
        See `Slide.read`.
    """
    plan = plan_thumbnail(slide.metadata, max_px)
    return read_scaled(
        slide, plan, slice(0, plan.geometry.height_px), slice(0, plan.geometry.width_px)
    )


def uniform_problem(path: str, pixels: NDArray[np.uint8]) -> str | None:
    """What is wrong with a slide of one colour; None when its pixels uint8 (h, w, 3) differ."""
    colour = pixels[0, 0]
    if (pixels != colour).any():
        return None
    return (
        f"{path}: every pixel has the colour {tuple(int(value) for value in colour)}: the slide is "
        "empty or wholly transparent; export it again, or set its split to skip"
    )


def check_not_blank(path: str, pixels: NDArray[np.uint8]) -> None:
    """Refuse a slide that is glass of one colour; another single colour is logged as a warning.

    Parameters
    ----------
    path : of the slide
    pixels : uint8 (h, w, 3), the whole slide

    Raises
    ------
    SlideError
        Nothing can be found on the slide.
    """
    problem = uniform_problem(path, pixels)
    if problem is None:
        return
    if pixels[0, 0].min() >= _MIN_GLASS:
        raise SlideError(problem)
    log.warning("%s", problem)


def small_level_problem(slide: Slide) -> str | None:
    """As `uniform_problem`, for a slide with a small level; None where every level is large."""
    width, height = slide.metadata.level_sizes_px[-1]
    if width * height > _SMALL_LEVEL_PX:
        return None
    last = len(slide.metadata.level_sizes_px) - 1
    try:
        pixels = slide.read(last, Window(0, 0, height, width))
    except SlideError:
        return None  # found when the slide is tiled
    return uniform_problem(slide.metadata.path, pixels)


def _read_at_once(slide: Slide, plan: ScalePlan, block: Block) -> NDArray[np.uint8]:
    rows, columns = block
    source_y = source_span(rows, plan.reduction_y, plan.source_height_px)
    source_x = source_span(columns, plan.reduction_x, plan.source_width_px)
    pixels = slide.read(plan.level, Window.from_block((source_y, source_x)))
    reduction = plan.reduction_y, plan.reduction_x
    if _pillow_is_exact(pixels, block, reduction):
        down, across = (int(factor) for factor in reduction)
        return np.asarray(PIL.Image.fromarray(pixels).reduce((across, down)))
    return area_average(pixels, reduction, block=block, origin=(source_y.start, source_x.start))


def _pillow_is_exact(
    source: NDArray[np.uint8], block: Block, reduction: tuple[float, float]
) -> bool:
    """Whether Pillow, which is faster, gives the same pixels as `area_average`.

    Pillow multiplies by a truncated reciprocal: that is exact for powers of two only.
    """
    down, across = (int(factor) for factor in reduction)
    count = down * across
    if (down, across) != reduction or count == 1 or count & (count - 1) != 0:
        return False
    rows, columns = block
    height, width = (rows.stop - rows.start) * down, (columns.stop - columns.start) * across
    return source.shape[:2] == (height, width)
