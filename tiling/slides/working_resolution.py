"""From a working resolution to a level and a reduction, and the exact area average that follows.

Output pixel i of an axis is the mean of the source over [i r, (i + 1) r), with fractional weights at both ends (at the far edge: of what
the source still has). It depends on i alone, so that an array does not depend on the blocks it was read in.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tiling.raster.geometry import Geometry
from tiling.slide_errors import SlideError
from tiling.slides.metadata import SlideFacts, mpp_problem
from tiling.slides.slide_reader import Slide

TOLERANCE = 0.05
# Source pixels of one read: 2048 x 2048 RGB is 12 MB, and 50 MB as floats while it is averaged.
_READ_PX = 2048


@dataclass(frozen=True)
class Plan:
    """How stored pixels are made.

    Attributes
    ----------
    level : level of the slide that is read
    reduction_x, reduction_y : level pixels per stored pixel, >= 1
    source_width_px, source_height_px : size of that level
    geometry : frame of the stored array. Its last pixel may cover only a part of the slide (it averages that part)
    """

    level: int
    reduction_x: float
    reduction_y: float
    source_width_px: int
    source_height_px: int
    geometry: Geometry


def plan_scale(facts: SlideFacts, mpp_um: float) -> Plan:
    """The level and reduction for a working resolution.

    A level, or an integer reduction of one, within 5 % of the working resolution is taken as it is: stored pixels then end on slide pixels,
    and a slide gives the same grid whether its file has many levels or one.

    Parameters
    ----------
    facts : facts of the slide
    mpp_um : um per stored pixel that is asked for

    Raises
    ------
    SlideError
        No usable pixel size, or the slide is coarser than asked for by more than 5 %.
    """
    problem = mpp_problem(facts)
    if problem is not None or facts.mpp_x is None or facts.mpp_y is None:
        raise SlideError(problem)
    coarsest = max(facts.mpp_x, facts.mpp_y)
    if coarsest > mpp_um * (1 + TOLERANCE):
        raise SlideError(
            f"{facts.path}: {coarsest:.4g} um per pixel at full resolution is coarser than the working {mpp_um:g}; "
            "work at a larger mpp, or correct column 'mpp' in the sheet"
        )
    fine_enough = [
        level
        for level, (x, y) in enumerate(facts.downsamples)
        if max(facts.mpp_x * x, facts.mpp_y * y) <= mpp_um * (1 + TOLERANCE)
    ]
    level = max(fine_enough, key=lambda index: facts.downsamples[index])
    down_x, down_y = facts.downsamples[level]
    reduction_x, reduction_y = (
        _reduction(mpp_um / (facts.mpp_x * down_x)),
        _reduction(mpp_um / (facts.mpp_y * down_y)),
    )
    return _plan(facts, level, reduction_x, reduction_y)


def _reduction(wanted: float) -> float:
    whole = max(round(wanted), 1)
    return float(whole) if abs(whole / wanted - 1) <= TOLERANCE else wanted


def plan_coarser(facts: SlideFacts, fine: Plan, factor: int) -> Plan:
    """A plan whose pixel covers exactly factor x factor pixels of a finer plan, read from the coarsest level that serves.

    Raises
    ------
    SlideError
        As `plan_scale`.
    """
    x, y = fine.geometry.downsample_x * factor, fine.geometry.downsample_y * factor
    slack = 1 + 1e-9
    level = max(
        (
            index
            for index, down in enumerate(facts.downsamples)
            if down[0] <= x * slack and down[1] <= y * slack
        ),
        key=lambda index: facts.downsamples[index],
    )
    down_x, down_y = facts.downsamples[level]
    plan = _plan(facts, level, _clean(x / down_x), _clean(y / down_y))
    # Levels round their size differently: the coarse array must still have one pixel per block of the fine one.
    size = {
        "width_px": -(-fine.geometry.width_px // factor),
        "height_px": -(-fine.geometry.height_px // factor),
    }
    geometry = Geometry.from_dict({**plan.geometry.to_dict(), **size})
    return Plan(
        plan.level,
        plan.reduction_x,
        plan.reduction_y,
        plan.source_width_px,
        plan.source_height_px,
        geometry,
    )


def read_thumbnail(slide: Slide, max_px: int) -> NDArray[np.uint8]:
    """The whole slide with a longest side of at most max_px, uint8 (h, w, 3); needs no pixel size.

    Raises
    ------
    SlideError
        See `Slide.read`.
    """
    facts = replace(slide.facts, mpp_x=1.0, mpp_y=1.0)
    wanted = max(facts.width_px / max_px, facts.height_px / max_px, 1.0)
    level = max(
        (index for index, down in enumerate(facts.downsamples) if max(down) <= wanted),
        key=lambda index: facts.downsamples[index],
    )
    down_x, down_y = facts.downsamples[level]
    plan = _plan(facts, level, _clean(wanted / down_x), _clean(wanted / down_y))
    return read_scaled(
        slide, plan, slice(0, plan.geometry.height_px), slice(0, plan.geometry.width_px)
    )


def _clean(value: float) -> float:
    return float(round(value)) if math.isclose(value, round(value), rel_tol=1e-9) else value


def _plan(facts: SlideFacts, level: int, reduction_x: float, reduction_y: float) -> Plan:
    if facts.mpp_x is None or facts.mpp_y is None:
        raise SlideError(mpp_problem(facts))
    (width, height), (down_x, down_y) = facts.level_sizes_px[level], facts.downsamples[level]
    x, y = _clean(down_x * reduction_x), _clean(down_y * reduction_y)
    left, top, bounds_width, bounds_height = facts.bounds_level0
    geometry = Geometry(
        width_px=_count(width, reduction_x),
        height_px=_count(height, reduction_y),
        slide_width_px=facts.width_px,
        slide_height_px=facts.height_px,
        downsample_x=x,
        downsample_y=y,
        mpp_x=facts.mpp_x * x,
        mpp_y=facts.mpp_y * y,
        bounds_x=left,
        bounds_y=top,
        bounds_width_px=bounds_width,
        bounds_height_px=bounds_height,
    )
    return Plan(level, reduction_x, reduction_y, width, height, geometry)


def _count(source_px: int, reduction: float) -> int:
    """Stored pixels that cover the source; a last sliver under a thousandth of a source pixel is rounding, not tissue."""
    return max(math.ceil(source_px / reduction - 1e-3 / reduction), 1)


def read_scaled(slide: Slide, plan: Plan, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """A block of the stored array, uint8 (h, w, 3); memory stays bounded, values do not depend on the block.

    Parameters
    ----------
    slide : open slide
    plan : of that slide
    rows, columns : block in stored pixels, inside the plan's geometry

    Raises
    ------
    SlideError
        See `Slide.read`.
    """
    step_y, step_x = (
        max(int(_READ_PX / plan.reduction_y), 1),
        max(int(_READ_PX / plan.reduction_x), 1),
    )
    if rows.stop - rows.start <= step_y and columns.stop - columns.start <= step_x:
        return _read_part(slide, plan, rows, columns)
    out = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
    for top in range(rows.start, rows.stop, step_y):
        for left in range(columns.start, columns.stop, step_x):
            bottom, right = min(top + step_y, rows.stop), min(left + step_x, columns.stop)
            part = _read_part(slide, plan, slice(top, bottom), slice(left, right))
            out[
                top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
            ] = part
    return out


def _read_part(slide: Slide, plan: Plan, rows: slice, columns: slice) -> NDArray[np.uint8]:
    source_y = source_span(rows, plan.reduction_y, plan.source_height_px)
    source_x = source_span(columns, plan.reduction_x, plan.source_width_px)
    pixels = slide.read(
        plan.level,
        source_y.start,
        source_x.start,
        source_y.stop - source_y.start,
        source_x.stop - source_x.start,
    )
    return area_average(
        pixels,
        (source_y.start, source_x.start),
        rows,
        columns,
        (plan.reduction_y, plan.reduction_x),
    )


def source_span(target: slice, reduction: float, source_px: int) -> slice:
    """Source pixels that stored pixels touch, clipped to the source.

    >>> source_span(slice(1, 3), 2.5, 100), source_span(slice(0, 4), 3.0, 10)
    (slice(2, 8, None), slice(0, 10, None))
    """
    stop = min(math.ceil(target.stop * reduction), source_px)
    # A coarse grid may have a pixel that starts on the source's last edge: it takes the last source pixel.
    return slice(min(math.floor(target.start * reduction), stop - 1, source_px - 1), stop)


def area_average(
    source: NDArray[np.uint8],
    origin: tuple[int, int],
    rows: slice,
    columns: slice,
    reduction: tuple[float, float],
) -> NDArray[np.uint8]:
    """Exact area average of a block.

    Parameters
    ----------
    source : uint8 (h, w, 3), the part of the source that `source_span` names
    origin : (y, x) of its first pixel in the whole source
    rows, columns : block of the output, in output pixels
    reduction : (y, x) source pixels per output pixel, >= 1

    Returns
    -------
    uint8 (rows, columns, 3)
        Rounded half up.
    """
    if all(factor.is_integer() for factor in reduction):
        # The block starts on a multiple of the factors; at the far edge what there is.
        reduced = _whole_average(source, int(reduction[0]), int(reduction[1]))
        missing = (
            rows.stop - rows.start - reduced.shape[0],
            columns.stop - columns.start - reduced.shape[1],
        )
        return (
            np.pad(reduced, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            if any(missing)
            else reduced
        )
    mean: NDArray[Any] = source
    for axis, (block, start, factor) in enumerate(
        zip((rows, columns), origin, reduction, strict=True)
    ):
        mean = _average_axis(mean, axis, start, block, factor)
    return np.floor(mean + np.float32(0.5)).astype(np.uint8)


def _whole_average(source: NDArray[np.uint8], down: int, across: int) -> NDArray[np.uint8]:
    """Mean of blocks of whole pixels, rounded half up."""
    count = down * across
    if count == 1:
        return source
    if count & (count - 1) == 0 and not (source.shape[0] % down or source.shape[1] % across):
        # Pillow multiplies by a reciprocal that is cut off: exact for powers of two, else one too low where rounding just reaches a number.
        return np.asarray(PIL.Image.fromarray(source).reduce((across, down)))
    wide = np.dtype(np.uint16 if 255 * count + count // 2 <= np.iinfo(np.uint16).max else np.uint32)
    total = _block_sums(np.moveaxis(_block_sums(source, down, wide), 1, 0), across, wide)
    height, width = source.shape[:2]
    counts = np.outer(_block_sizes(width, across), _block_sizes(height, down)).astype(wide)[
        ..., None
    ]
    total += counts // 2
    total //= counts
    return np.ascontiguousarray(np.moveaxis(total.astype(np.uint8), 0, 1))


def _block_sums(values: NDArray[Any], size: int, wide: np.dtype[Any]) -> NDArray[Any]:
    """Sums of `size` neighbours along the first axis; the last may have fewer."""
    total = values[::size].astype(wide)
    for tap in range(1, size):
        part = values[tap::size]
        total[: len(part)] += part
    return total


def _block_sizes(length: int, size: int) -> NDArray[np.int64]:
    return np.diff(np.append(np.arange(0, length, size), length))


def _average_axis(
    source: NDArray[Any], axis: int, start: int, block: slice, factor: float
) -> NDArray[np.float32]:
    """Mean along one axis as a sum over taps in a fixed order: float results do not depend on the block either."""
    index = np.arange(block.start, block.stop)
    low, high = index * factor, (index + 1) * factor
    first = np.minimum(np.floor(low).astype(np.int64), start + source.shape[axis] - 1)
    last_px = start + source.shape[axis]
    shape = [1, 1, 1]
    shape[axis] = len(index)
    total = np.zeros((*source.shape[:axis], len(index), *source.shape[axis + 1 :]), np.float32)
    weight_sum = np.zeros(len(index), np.float64)
    for tap in range(math.ceil(factor) + 1):
        pixel = first + tap
        weight = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, 1)
        weight[pixel >= last_px] = 0
        if tap == 0:
            weight[low >= last_px] = (
                1  # a pixel wholly behind the source (see `plan_coarser`) repeats its edge
            )
        weight_sum += weight
        taken = source.take(np.minimum(pixel, last_px - 1) - start, axis=axis)
        total += taken * weight.astype(np.float32).reshape(shape)
    scale: NDArray[np.float32] = (1 / weight_sum).astype(np.float32)
    return total * scale.reshape(shape)
