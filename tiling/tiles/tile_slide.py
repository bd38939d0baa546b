"""Tile a slide: tissue, grid, and the pixels of the tiles in an OME-Zarr store aligned to the slide.

Only chunks under tiles that hold tissue are read and written; the others are absent and read as white.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.raster.geometry import CoordinateFrame
from tiling.slide_errors import SlideError
from tiling.slides.metadata import check_is_file
from tiling.slides.slide_reader import Icc, Slide, open_slide
from tiling.slides.staging import near
from tiling.slides.working_resolution import Plan, plan_scale
from tiling.stores.arrays import create_array, create_group
from tiling.stores.atomic_store import UnfinishedStore, write_store
from tiling.stores.attributes import record_failure
from tiling.stores.layout import TileCounts, TileStore
from tiling.stores.ome_pyramid import WHITE, level_shapes, ome_attributes
from tiling.tiles.focus import tile_focus
from tiling.tiles.pyramid import Chunk, chunk_sides, chunks_under, write_levels
from tiling.tiles.tile_grid import TileTable, choose_tiles
from tiling.tissue.slide_tissue import Coarse, file_hash, find_tissue

log = logging.getLogger(__name__)

# 100k x 100k pixels at full resolution are 900 files; with the 2048 of other arrays they would be 3300, over many a quota.
IMAGE_SHARD_PX = 4096
_OK, _LEFT_OUT = 0, 1


@dataclass(frozen=True)
class TileParameters:
    """What the tiles of a slide depend on, beside the slide.

    Attributes
    ----------
    mpp_um : working resolution, um per stored pixel
    tile_px, overlap_px : side of a tile and overlap of neighbours, stored pixels
    tissue_mpp_um : resolution at which tissue is found, um per pixel (rounded to whole stored pixels)
    min_tissue : least share of tissue in a tile
    max_pen : tiles with more than this share of ink are left out (status 1)
    min_focus : tiles less sharp than this are left out (status 1); see `tiling.tiles.focus`; 0 keeps all
    icc : "apply" brings pixels from the file's embedded colour profile to sRGB; "keep" leaves them
    max_failed : share of the needed chunks that may be unreadable before the slide fails; the tiles over them are left out
    """

    mpp_um: float = 1.0
    tile_px: int = 256
    overlap_px: int = 64
    tissue_mpp_um: float = 8.0
    min_tissue: float = 0.05
    max_pen: float = 0.5
    min_focus: float = 0.0
    icc: Icc = "keep"
    max_failed: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_px < self.tile_px:
            raise ValueError(
                f"overlap_px {self.overlap_px} must be at least 0 and less than tile_px {self.tile_px}"
            )


def tile_slide(
    source: Path,
    store: Path,
    *,
    slide: str,
    parameters: TileParameters,
    mpp: float | None = None,
    tissue: Path | None = None,
    roi: Path | None = None,
    origin: CoordinateFrame = "bounds",
    code_version: int,
    workers: int = 1,
    progress: bool = False,
    record: bool = True,
    scratch: Path | None = None,
) -> None:
    """Write `tiles/{slide}.zarr`; a slide that cannot be used leaves a store that says why.

    Parameters
    ----------
    source : slide file
    store : finished store; an unfinished one of the same parameters is continued
    slide : id of the slide
    parameters : TileParameters
    mpp : um per level-0 pixel where the sheet overrides the file
    tissue, roi : GeoJSON of polygons (x, y in level-0 pixels) or a mask image of the whole slide: `tissue` replaces the tissue found,
        `roi` restricts it
    origin : whether GeoJSON counts from the viewer's crop (as QuPath does) or from the slide's corner
    code_version : raised when the code gives other bytes
    workers : threads
    progress : show progress on stderr
    record : leave a failed slide's error in the store; False raises it
    scratch : folder on a fast local disk to which the slide is copied while it is read

    Raises
    ------
    SlideError
        The slide cannot be used (only without `record`).
    StoreError
        Another process writes the same store.
    OSError
        Disk or mount fail.
    """
    stamp = {
        "source": str(source),
        "mpp": mpp,
        "origin": origin,
        "version": code_version,
        **asdict(parameters),
    }
    try:
        stamp |= {
            name: file_hash(path)
            for name, path in (("tissue", tissue), ("roi", roi))
            if path is not None
        }
        check_is_file(source)
        with (
            near(source, scratch) as copy,
            open_slide(source, mpp=mpp, copy=copy, icc=parameters.icc) as opened,
        ):
            plan = plan_scale(opened.facts, parameters.mpp_um)
            with write_store(
                store, {**stamp, "slide": slide, "fingerprint": opened.facts.fingerprint}
            ) as partial:
                group = create_group(partial.folder)
                found = find_tissue(
                    opened,
                    plan,
                    tissue_mpp_um=parameters.tissue_mpp_um,
                    tissue=tissue,
                    roi=roi,
                    origin=origin,
                    fail_fast=parameters.max_failed == 0,
                    workers=workers,
                    progress=progress,
                )
                counts = _write_tiles(
                    group, opened, plan, found, partial, slide, parameters, workers, progress
                )
                _report(slide, counts, found)
                _attributes(
                    slide, opened, plan, found, parameters, counts, stamp, code_version
                ).write(group)
    except SlideError as error:
        if not record:
            raise
        log.warning("%s is left out: %s", slide, error)
        record_failure(store, error, {**stamp, "slide": slide})


def _report(slide: str, counts: TileCounts, found: Coarse) -> None:
    if counts.tiles == counts.tiles_left_out:
        log.warning(
            "%s: no tile with tissue; look at the slide, or give its tissue as GeoJSON in column 'tissue' of the sheet",
            slide,
        )
    log.info(
        "%s: %.2f mm2 of tissue, %s",
        slide,
        found.tissue_um2 / 1e6,
        ", ".join(f"{name} {count}" for name, count in asdict(counts).items()),
    )


def _write_tiles(
    group: zarr.Group,
    slide: Slide,
    plan: Plan,
    found: Coarse,
    partial: UnfinishedStore,
    name: str,
    parameters: TileParameters,
    workers: int,
    progress: bool,
) -> TileCounts:
    """Level 0, pyramid, table and coarse tissue; returns the counts."""
    shape = plan.geometry.height_px, plan.geometry.width_px
    tile_px = parameters.tile_px
    table = choose_tiles(
        found.tissue,
        found.pen,
        shape_px=shape,
        coarse_px=found.stride_px,
        tile_px=tile_px,
        overlap_px=parameters.overlap_px,
        min_tissue=parameters.min_tissue,
    )
    levels = [
        create_array(group, str(level), (3, *size), np.uint8, fill=WHITE, shard_px=IMAGE_SHARD_PX)
        for level, size in enumerate(level_shapes(*shape))
    ]
    chunk_px = chunk_sides(levels[0])
    needed = chunks_under(table.origin_yx_px, tile_px, shape, chunk_px)
    failed, sums = write_levels(
        slide,
        plan,
        levels,
        partial,
        needed,
        fail_fast=parameters.max_failed == 0,
        workers=workers,
        progress=progress,
    )
    if len(failed) > parameters.max_failed * needed.sum():
        raise SlideError(
            f"{slide.facts.path}: {len(failed)} of {needed.sum()} blocks cannot be read; copy the file again, or restrict it by `roi`"
        )
    group.attrs["ome"] = ome_attributes(name, plan.geometry, len(levels))
    focus = tile_focus(sums, table.origin_yx_px, tile_px, shape)
    status = _status(table, focus, _over(table.origin_yx_px, tile_px, failed, chunk_px), parameters)
    geometry = plan.geometry
    origin_xy = table.origin_yx_px[:, ::-1] * np.array(
        [geometry.downsample_x, geometry.downsample_y]
    )
    columns = {
        "origin_yx_px": table.origin_yx_px,
        "origin_xy_level0": origin_xy,
        "tissue": table.tissue,
        "focus": focus,
        "pen": table.pen,
        "status": status,
    }
    TileStore.write_table(group, columns)
    for mask_name, mask in (("tissue", found.tissue), ("pen", found.pen)):
        create_array(group, mask_name, mask.shape, np.uint8)[...] = mask.astype(np.uint8)
    return TileCounts(
        tiles=len(status),
        tiles_left_out=int((status != _OK).sum()),
        chunks_read=int(needed.sum()) - len(failed),
        chunks_background=int((~needed).sum()),
        chunks_failed=len(failed),
    )


def _attributes(
    slide: str,
    opened: Slide,
    plan: Plan,
    found: Coarse,
    parameters: TileParameters,
    counts: TileCounts,
    stamp: dict[str, Any],
    code_version: int,
) -> TileStore:
    facts = opened.facts
    return TileStore(
        geometry=plan.geometry,
        fingerprint=facts.fingerprint,
        source=facts.path,
        source_bytes=facts.bytes,
        reader=facts.reader,
        reader_version=facts.reader_version,
        mpp_origin=facts.mpp_origin,
        colour_profile=facts.colour_profile,
        tissue_mpp_um=found.mpp_um,
        tissue_stride_px=found.stride_px,
        tissue_um2=found.tissue_um2,
        tile_px=parameters.tile_px,
        overlap_px=parameters.overlap_px,
        slide=slide,
        counts=counts,
        parameters=stamp,
        version=code_version,
    )


def _over(
    origin_yx_px: NDArray[np.int64], tile_px: int, failed: list[Chunk], chunk_px: tuple[int, int]
) -> NDArray[np.bool_]:
    """Tiles that reach into a chunk that could not be read: bool (N,)."""
    over = np.zeros(len(origin_yx_px), bool)
    for chunk in failed:
        low = np.array(chunk) * chunk_px
        over |= ((origin_yx_px < low + chunk_px) & (origin_yx_px + tile_px > low)).all(axis=1)
    return over


def _status(
    table: TileTable,
    focus: NDArray[np.float32],
    unreadable: NDArray[np.bool_],
    parameters: TileParameters,
) -> NDArray[np.uint8]:
    left_out = (table.pen > parameters.max_pen) | (focus < parameters.min_focus) | unreadable
    return np.where(left_out, _LEFT_OUT, _OK).astype(np.uint8)
