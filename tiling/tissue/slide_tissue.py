"""Tissue and pen of an open slide, on a coarse grid."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.parallel import JobSettings, for_each
from tiling.raster.geometry import Block, Geometry, blocks
from tiling.slide_errors import SlideError
from tiling.slides.scaled_reading import check_not_blank, read_scaled
from tiling.slides.slide_reader import Slide
from tiling.slides.working_resolution import ScalePlan, plan_coarser
from tiling.stores.ome_pyramid import WHITE
from tiling.tissue.mask_files import MaskFiles
from tiling.tissue.tissue_mask import tissue_and_pen

_BLOCK_PX = 256
_MIN_BLOCK_PX = 8


class CoarseMasks(NamedTuple):
    """Tissue and pen; a pixel covers stride_px x stride_px stored pixels.

    Attributes
    ----------
    tissue, pen : bool (rows, columns)
    stride_px : stored pixels per pixel
    mpp_um : um per pixel
    tissue_um2 : area of the tissue, um2
    """

    tissue: NDArray[np.bool_]
    pen: NDArray[np.bool_]
    stride_px: int
    mpp_um: float
    tissue_um2: float


def find_tissue(
    slide: Slide,
    plan: ScalePlan,
    *,
    tissue_mpp_um: float,
    masks: MaskFiles,
    fail_fast: bool = True,
    job: JobSettings,
) -> CoarseMasks:
    """Find the tissue and the pen of a slide.

    Parameters
    ----------
    slide : open slide
    plan : of the stored array
    tissue_mpp_um : um per pixel of the masks, rounded to a whole number of stored pixels
    masks : files that replace or restrict the tissue
    fail_fast : raise the first SlideError. Otherwise, what cannot be read counts as tissue: then
        its tiles are read later, and are counted as failed
    job : threads and progress

    Raises
    ------
    SlideError
        The slide or a mask file cannot be read, or all its pixels are glass of one colour.
    """
    stride_px = max(round(tissue_mpp_um / plan.geometry.mpp), 1)
    coarse_plan = plan_coarser(slide.metadata, plan, stride_px)
    geometry = coarse_plan.geometry
    rgb, unreadable = _read_all(slide, coarse_plan, fail_fast=fail_fast, job=job)
    if not unreadable:
        check_not_blank(slide.metadata.path, rgb)
    tissue, pen = tissue_and_pen(rgb, geometry.mpp, workers=job.workers)
    for block in unreadable:
        tissue[block] = True
    tissue = masks.apply(tissue, geometry)
    return CoarseMasks(tissue, pen, stride_px, geometry.mpp, _area_um2(tissue, geometry))


def _area_um2(tissue: NDArray[np.bool_], geometry: Geometry) -> float:
    """Area of the tissue on the slide: the last row and column may reach beyond its edge."""
    heights_level0, widths_level0 = (
        np.clip(side_px - step_px * np.arange(count), 0, step_px)
        for side_px, step_px, count in zip(
            (geometry.slide_height_px, geometry.slide_width_px),
            (geometry.downsample_y, geometry.downsample_x),
            tissue.shape,
            strict=True,
        )
    )
    um2_per_level0_px = geometry.um2_per_px / (geometry.downsample_y * geometry.downsample_x)
    return float(heights_level0 @ tissue @ widths_level0) * um2_per_level0_px


def _read_all(
    slide: Slide, plan: ScalePlan, *, fail_fast: bool, job: JobSettings
) -> tuple[NDArray[np.uint8], list[Block]]:
    """The whole array of a plan, uint8 (h, w, 3), and the blocks that cannot be read (white)."""
    height, width = plan.geometry.height_px, plan.geometry.width_px
    rgb = np.empty((height, width, 3), np.uint8)
    unreadable: list[Block] = []

    def read(block: Block) -> None:
        try:
            rgb[block] = read_scaled(slide, plan, *block)
        except SlideError:
            if fail_fast:
                raise
            parts = _quarters(block)
            if not parts:
                rgb[block] = WHITE
                unreadable.append(block)
            for part in parts:
                read(part)

    for_each(
        read,
        blocks(height, width, _BLOCK_PX),
        job=job,
        nouns="tissue blocks",
    )
    return rgb, unreadable


def _quarters(block: Block) -> list[Block]:
    """The block in parts of half its longer side; none for a block of the smallest size."""
    rows, columns = block
    height, width = rows.stop - rows.start, columns.stop - columns.start
    longer_side = max(height, width)
    if longer_side <= _MIN_BLOCK_PX:
        return []
    return [
        (
            slice(rows.start + y.start, rows.start + y.stop),
            slice(columns.start + x.start, columns.start + x.stop),
        )
        for y, x in blocks(height, width, longer_side // 2)
    ]
