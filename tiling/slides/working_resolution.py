"""From a working resolution to the level that is read, the reduction, and the stored grid."""

import math
from dataclasses import dataclass, replace

from tiling.raster.area_average import RESOLUTION_TOLERANCE, preferred_reduction, reduced_size
from tiling.raster.geometry import Geometry
from tiling.slide_errors import SlideError
from tiling.slides.metadata import SlideMetadata, usable_pixel_size
from tiling.slides.pixel_size import PixelSize


@dataclass(frozen=True)
class ScalePlan:
    """How stored pixels are made from the pixels of a level.

    Attributes
    ----------
    level : level of the slide that is read
    reduction_x, reduction_y : level pixels per stored pixel, >= 1
    source_width_px, source_height_px : size of that level
    geometry : geometry of the stored array. Its last pixels may cover only a part of the slide;
        they are the mean of that part
    """

    level: int
    reduction_x: float
    reduction_y: float
    source_width_px: int
    source_height_px: int
    geometry: Geometry


def plan_scale(metadata: SlideMetadata, mpp_um: float) -> ScalePlan:
    """Choose the level and the reduction for a working resolution.

    A level, or an integer reduction of one, within 5 % of the working resolution is used as it is.
    Then stored pixels end on slide pixels, and a slide has the same grid whether its file has many
    levels or one.

    Parameters
    ----------
    metadata : of the slide
    mpp_um : working resolution, um per stored pixel

    Raises
    ------
    SlideError
        No usable pixel size, or the slide is more than 5 % coarser than the working resolution.
    """
    size = usable_pixel_size(metadata)
    slide_mpp = max(size.mpp_x, size.mpp_y)
    max_mpp = mpp_um * (1 + RESOLUTION_TOLERANCE)
    if slide_mpp > max_mpp:
        raise SlideError(
            f"{metadata.path}: {slide_mpp:.4g} um per pixel at full resolution is coarser than "
            f"the working {mpp_um:g}; work at a larger mpp, or "
            "correct the pixel size (in a sheet: column 'mpp')"
        )
    fine_enough = [
        level
        for level, (x, y) in enumerate(metadata.downsamples)
        if max(size.mpp_x * x, size.mpp_y * y) <= max_mpp
    ]
    level = _coarsest(metadata, fine_enough)
    level_x, level_y = metadata.downsamples[level]
    reduction_x = preferred_reduction(mpp_um / (size.mpp_x * level_x))
    reduction_y = preferred_reduction(mpp_um / (size.mpp_y * level_y))
    return _plan_of_level(metadata, size, level, (reduction_x, reduction_y))


def plan_coarser(metadata: SlideMetadata, fine: ScalePlan, factor: int) -> ScalePlan:
    """A plan whose pixels cover exactly factor x factor pixels of a finer plan.

    It reads the coarsest level that is fine enough.

    Raises
    ------
    SlideError
        As `plan_scale`.
    """
    size = usable_pixel_size(metadata)
    x, y = fine.geometry.downsample_x * factor, fine.geometry.downsample_y * factor
    rounding = 1 + 1e-9
    fine_enough = [
        level
        for level, (level_x, level_y) in enumerate(metadata.downsamples)
        if level_x <= x * rounding and level_y <= y * rounding
    ]
    plan = _plan_of_downsample(metadata, size, _coarsest(metadata, fine_enough), (x, y))
    # Levels round their size differently: the coarse array must still have one pixel for each block
    # of the fine one.
    geometry = replace(
        plan.geometry,
        width_px=-(-fine.geometry.width_px // factor),
        height_px=-(-fine.geometry.height_px // factor),
    )
    return replace(plan, geometry=geometry)


def plan_thumbnail(metadata: SlideMetadata, max_px: int) -> ScalePlan:
    """A plan for the whole slide with a longest side of at most max_px; needs no pixel size."""
    downsample = max(metadata.width_px / max_px, metadata.height_px / max_px, 1.0)
    fine_enough = [
        level for level, factors in enumerate(metadata.downsamples) if max(factors) <= downsample
    ]
    level = _coarsest(metadata, fine_enough)
    return _plan_of_downsample(metadata, PixelSize(1.0, 1.0), level, (downsample, downsample))


def _coarsest(metadata: SlideMetadata, levels: list[int]) -> int:
    return max(levels, key=lambda level: metadata.downsamples[level])


def _plan_of_downsample(
    metadata: SlideMetadata, size: PixelSize, level: int, downsample: tuple[float, float]
) -> ScalePlan:
    """The plan for a level and a number of level-0 pixels per stored pixel (x, y)."""
    level_x, level_y = metadata.downsamples[level]
    reduction_x = _without_rounding_error(downsample[0] / level_x)
    reduction_y = _without_rounding_error(downsample[1] / level_y)
    return _plan_of_level(metadata, size, level, (reduction_x, reduction_y))


def _plan_of_level(
    metadata: SlideMetadata, size: PixelSize, level: int, reduction: tuple[float, float]
) -> ScalePlan:
    """The plan for a level and a reduction (x, y)."""
    reduction_x, reduction_y = reduction
    width, height = metadata.level_sizes_px[level]
    level_x, level_y = metadata.downsamples[level]
    x = _without_rounding_error(level_x * reduction_x)
    y = _without_rounding_error(level_y * reduction_y)
    left, top, bounds_width, bounds_height = metadata.bounds_level0
    geometry = Geometry(
        width_px=reduced_size(width, reduction_x),
        height_px=reduced_size(height, reduction_y),
        slide_width_px=metadata.width_px,
        slide_height_px=metadata.height_px,
        downsample_x=x,
        downsample_y=y,
        mpp_x=size.mpp_x * x,
        mpp_y=size.mpp_y * y,
        bounds_x=left,
        bounds_y=top,
        bounds_width_px=bounds_width,
        bounds_height_px=bounds_height,
    )
    return ScalePlan(level, reduction_x, reduction_y, width, height, geometry)


def _without_rounding_error(value: float) -> float:
    return float(round(value)) if math.isclose(value, round(value), rel_tol=1e-9) else value
