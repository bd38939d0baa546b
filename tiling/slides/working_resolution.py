"""From a working resolution to a level and a reduction, and blocks of a slide at that resolution.

Stored pixels are area averages (`tiling.raster.area_average`): an array does not depend on the
blocks in which it was read.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tiling.raster.area_average import (
    RESOLUTION_TOLERANCE,
    area_average,
    preferred_reduction,
    reduced_size,
    source_span,
)
from tiling.raster.geometry import Block, Geometry
from tiling.slide_errors import SlideError
from tiling.slides.metadata import SlideFacts, mpp_problem
from tiling.slides.slide_reader import Slide

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
    if coarsest > mpp_um * (1 + RESOLUTION_TOLERANCE):
        raise SlideError(
            f"{facts.path}: {coarsest:.4g} um per pixel at full resolution is coarser than the working {mpp_um:g}; "
            "work at a larger mpp, or correct column 'mpp' in the sheet"
        )
    fine_enough = [
        level
        for level, (x, y) in enumerate(facts.downsamples)
        if max(facts.mpp_x * x, facts.mpp_y * y) <= mpp_um * (1 + RESOLUTION_TOLERANCE)
    ]
    level = max(fine_enough, key=lambda index: facts.downsamples[index])
    down_x, down_y = facts.downsamples[level]
    reduction_x, reduction_y = (
        preferred_reduction(mpp_um / (facts.mpp_x * down_x)),
        preferred_reduction(mpp_um / (facts.mpp_y * down_y)),
    )
    return _plan(facts, level, reduction_x, reduction_y)


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
        width_px=reduced_size(width, reduction_x),
        height_px=reduced_size(height, reduction_y),
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
    origin = source_y.start, source_x.start
    return _averaged(pixels, origin, (rows, columns), (plan.reduction_y, plan.reduction_x))


def _averaged(
    source: NDArray[np.uint8], origin: tuple[int, int], block: Block, reduction: tuple[float, float]
) -> NDArray[np.uint8]:
    """The area average of a block (`area_average`); by Pillow where that gives the same pixels."""
    down, across = (int(factor) for factor in reduction)
    count = down * across
    whole = (down, across) == reduction and source.shape[:2] == tuple(
        (side.stop - side.start) * factor
        for side, factor in zip(block, (down, across), strict=True)
    )
    # Pillow multiplies by a truncated reciprocal: exact for powers of two only.
    if whole and count > 1 and count & (count - 1) == 0:
        return np.asarray(PIL.Image.fromarray(source).reduce((across, down)))
    return area_average(source, reduction, block=block, origin=origin)
