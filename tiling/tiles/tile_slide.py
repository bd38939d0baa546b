"""Tile a slide: its tissue, the grid of tiles, and their pixels in an OME-Zarr store.

Only chunks under tiles with tissue are read and written. The others are not stored: reading them
gives white.
"""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.parallel import JobSettings
from tiling.slide_errors import SlideError
from tiling.slides.brightfield import check_brightfield
from tiling.slides.child_probe import check_not_fatal
from tiling.slides.local_copy import local_copy
from tiling.slides.slide_reader import IccMode, Slide, open_slide
from tiling.slides.working_resolution import ScalePlan, plan_scale
from tiling.stores.arrays import create_array, create_group
from tiling.stores.atomic_store import UnfinishedStore, write_store
from tiling.stores.attributes import record_failure
from tiling.stores.layout import TileCounts, TileStore
from tiling.stores.ome_pyramid import WHITE, level_shapes, ome_attributes
from tiling.tiles.focus import tile_focus
from tiling.tiles.pyramid import Chunk, chunk_sides, write_levels
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_grid import TileTable, choose_tiles, chunks_under
from tiling.tissue.slide_tissue import CoarseMasks, find_tissue

log = logging.getLogger(__name__)

# 100k x 100k pixels at full resolution are 900 files. With the 2048 px of other arrays they would
# be 3300 files, which is more than many quotas allow.
IMAGE_SHARD_PX = 4096
_USED, _LEFT_OUT = 0, 1


@dataclass(frozen=True)
class TileParameters:
    """What the tiles of a slide depend on, except the slide.

    Attributes
    ----------
    mpp_um : working resolution, um per stored pixel
    tile_px, overlap_px : side of a tile and overlap of neighbours, stored pixels
    tissue_mpp_um : resolution at which tissue is found, um per pixel; rounded to a whole number of
        stored pixels
    min_tissue : least share of tissue in a tile; 0: every tile, also on glass
    max_pen : tiles with a larger share of ink are left out (status 1)
    min_focus : tiles that are less sharp are left out (status 1), see `tiling.tiles.focus`; 0: none
    icc : "apply" converts pixels from the file's embedded colour profile to sRGB; "keep" does not
    max_failed : largest share of unreadable chunks among the needed ones; with more the slide
        fails, with fewer the tiles over them are left out
    """

    mpp_um: float = 1.0
    tile_px: int = 256
    overlap_px: int = 64
    tissue_mpp_um: float = 8.0
    min_tissue: float = 0.05
    max_pen: float = 0.5
    min_focus: float = 0.0
    icc: IccMode = "keep"
    max_failed: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_px < self.tile_px:
            raise ValueError(
                f"overlap_px {self.overlap_px} must be at least 0 and less than "
                f"tile_px {self.tile_px}"
            )


def tile_slide(
    source: SlideSource,
    store: Path,
    *,
    parameters: TileParameters,
    code_version: int,
    job: JobSettings | None = None,
    local_copies: Path | None = None,
    record: bool = True,
) -> None:
    """Write `tiles/{slide}.zarr`; for a slide that cannot be used, a store with the error.

    Parameters
    ----------
    source : the slide
    store : finished store; an unfinished one of the same parameters is continued
    parameters : what the tiles depend on
    code_version : a number that is raised when a change of the code changes the bytes
    job : threads and progress; one thread without progress by default
    local_copies : folder on a fast local disk to which the slide is copied while it is read
    record : write a failed slide's error into the store; False raises it

    Raises
    ------
    SlideError
        The slide cannot be used (only with `record=False`).
    LockError
        Another process writes the same store.
    OSError
        A disk or a mount fails, or the probe of the slide does not answer.
    """
    recorded = {
        # Without its folder: the same from every working directory.
        "source": source.path.name,
        "mpp": source.mpp,
        "origin": source.masks.origin,
        "version": code_version,
        **asdict(parameters),
    }
    try:
        recorded |= source.masks.checksums()
        check_not_fatal(source.path)
        with (
            local_copy(source.path, local_copies) as file,
            open_slide(source.path, mpp=source.mpp, read_from=file, icc=parameters.icc) as opened,
        ):
            for remark in opened.metadata.remarks:
                log.warning("%s: %s", source.slide, remark)
            check_brightfield(opened)
            plan = plan_scale(opened.metadata, parameters.mpp_um)
            all_parameters = {
                **recorded,
                "slide": source.slide,
                "fingerprint": opened.metadata.checksum,
            }
            with write_store(store, all_parameters) as unfinished:
                coarse, counts = _write_tiles(
                    unfinished, source, opened, plan, parameters, job or JobSettings()
                )
                _log_counts(source.slide, counts, coarse)
                attributes = _attributes(source.slide, opened, plan, coarse, parameters)
                attributes = replace(
                    attributes, counts=counts, parameters=recorded, version=code_version
                )
                attributes.write(create_group(unfinished.folder))
    except SlideError as error:
        if not record:
            raise
        log.warning("%s is left out: %s", source.slide, error)
        record_failure(store, error, {**recorded, "slide": source.slide})


def _write_tiles(
    unfinished: UnfinishedStore,
    source: SlideSource,
    opened: Slide,
    plan: ScalePlan,
    parameters: TileParameters,
    job: JobSettings,
) -> tuple[CoarseMasks, TileCounts]:
    """Write arrays and table of the store; returns the tissue and the counts."""
    group = create_group(unfinished.folder)
    shape_px = plan.geometry.height_px, plan.geometry.width_px
    fail_fast = parameters.max_failed == 0
    coarse = find_tissue(
        opened,
        plan,
        tissue_mpp_um=parameters.tissue_mpp_um,
        masks=source.masks,
        fail_fast=fail_fast,
        job=job,
    )
    table = choose_tiles(
        coarse.tissue,
        coarse.pen,
        shape_px=shape_px,
        coarse_px=coarse.stride_px,
        tile_px=parameters.tile_px,
        overlap_px=parameters.overlap_px,
        min_tissue=parameters.min_tissue,
    )
    levels = _create_levels(group, shape_px)
    chunk_px = chunk_sides(levels[0])
    needed = chunks_under(table.origin_yx_px, parameters.tile_px, shape_px, chunk_px)
    written = write_levels(opened, plan, levels, unfinished, needed, fail_fast=fail_fast, job=job)
    if len(written.failed) > parameters.max_failed * needed.sum():
        raise SlideError(
            f"{opened.metadata.path}: {len(written.failed)} of {needed.sum()} blocks "
            "cannot be read; copy the file again, or restrict it by `roi`"
        )
    group.attrs["ome"] = ome_attributes(source.slide, plan.geometry, len(levels))
    focus = tile_focus(written.sums, table.origin_yx_px, parameters.tile_px, shape_px)
    unreadable = _overlap_chunks(table.origin_yx_px, parameters.tile_px, written.failed, chunk_px)
    status = _status(table, focus, unreadable, parameters)
    _write_table(group, table, focus, status, plan)
    _write_masks(group, coarse)
    counts = TileCounts(
        tiles=len(status),
        tiles_left_out=int((status != _USED).sum()),
        chunks_read=int(needed.sum()) - len(written.failed),
        chunks_background=int((~needed).sum()),
        chunks_failed=len(written.failed),
    )
    return coarse, counts


def _create_levels(group: zarr.Group, shape_px: tuple[int, int]) -> list[zarr.Array[Any]]:
    levels = []
    for level, size in enumerate(level_shapes(*shape_px)):
        array = create_array(
            group,
            str(level),
            (3, *size),
            TileStore.LEVEL_DTYPE,
            fill=WHITE,
            shard_px=IMAGE_SHARD_PX,
        )
        levels.append(array)
    return levels


def _overlap_chunks(
    origin_yx_px: NDArray[np.int64], tile_px: int, chunks: list[Chunk], chunk_px: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which tiles overlap at least one of these chunks: bool (N,)."""
    overlaps = np.zeros(len(origin_yx_px), bool)
    for chunk in chunks:
        first = np.array(chunk) * chunk_px
        last = first + chunk_px
        overlaps |= ((origin_yx_px < last) & (origin_yx_px + tile_px > first)).all(axis=1)
    return overlaps


def _status(
    table: TileTable,
    focus: NDArray[np.float32],
    unreadable: NDArray[np.bool_],
    parameters: TileParameters,
) -> NDArray[np.uint8]:
    left_out = (table.pen > parameters.max_pen) | (focus < parameters.min_focus) | unreadable
    return np.where(left_out, _LEFT_OUT, _USED).astype(np.uint8)


def _write_table(
    group: zarr.Group,
    table: TileTable,
    focus: NDArray[np.float32],
    status: NDArray[np.uint8],
    plan: ScalePlan,
) -> None:
    downsample_xy = np.array([plan.geometry.downsample_x, plan.geometry.downsample_y])
    columns = {
        "origin_yx_px": table.origin_yx_px,
        "origin_xy_level0": table.origin_yx_px[:, ::-1] * downsample_xy,
        "tissue": table.tissue,
        "focus": focus,
        "pen": table.pen,
        "status": status,
    }
    TileStore.write_table(group, columns)


def _write_masks(group: zarr.Group, coarse: CoarseMasks) -> None:
    masks = {"tissue": coarse.tissue, "pen": coarse.pen}
    for name, dtype in TileStore.ARRAYS.items():
        create_array(group, name, masks[name].shape, dtype)[...] = masks[name].astype(dtype)


def _log_counts(slide: str, counts: TileCounts, coarse: CoarseMasks) -> None:
    if counts.tiles == counts.tiles_left_out:
        log.warning(
            "%s: no tile with tissue; look at the slide, "
            "or give its tissue as GeoJSON (in a sheet: column 'tissue')",
            slide,
        )
    log.info(
        "%s: %.2f mm2 of tissue, %s",
        slide,
        coarse.tissue_um2 / 1e6,
        ", ".join(f"{name} {count}" for name, count in asdict(counts).items()),
    )


def _attributes(
    slide: str, opened: Slide, plan: ScalePlan, coarse: CoarseMasks, parameters: TileParameters
) -> TileStore:
    metadata = opened.metadata
    return TileStore(
        geometry=plan.geometry,
        fingerprint=metadata.checksum,
        source=Path(metadata.path).name,
        source_bytes=metadata.size_bytes,
        reader=metadata.reader,
        reader_version=metadata.reader_version,
        mpp_origin=metadata.mpp_origin,
        colour_profile=metadata.colour_profile,
        tissue_mpp_um=coarse.mpp_um,
        tissue_stride_px=coarse.stride_px,
        tissue_um2=coarse.tissue_um2,
        tile_px=parameters.tile_px,
        overlap_px=parameters.overlap_px,
        slide=slide,
    )
