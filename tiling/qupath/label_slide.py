"""Outlines -> instance labels and weights on the grid of a slide's tiles."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import shapely
import zarr
from numpy.typing import NDArray

from tiling.messages import counted
from tiling.objects.components import Seen, merge, seen
from tiling.objects.runs import runs
from tiling.qupath.annotations import Annotations, Outline, check_complete, read_annotations
from tiling.qupath.mask_images import MASK_ENDINGS, open_mask
from tiling.qupath.rasterise import Raster, to_stored
from tiling.raster.geometry import Block, CoordinateFrame, Geometry, Window, blocks
from tiling.slide_errors import AnnotationError, SlideError
from tiling.stores.arrays import SHARD_PX, create_array, create_group
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import geometry_of, record_failure, recorded_error
from tiling.stores.layout import LabelCounts, LabelStore, StoredRegion, TileStore

log = logging.getLogger(__name__)
_OFF_SLIDE = 0.5
_WITHOUT_PIXEL = (
    "have no pixel of their own (off the slide, too small, or covered by smaller ones); left out"
)
_TIFF_TILE_PX = 512
_KINDS = ("glands", "regions", "ignored")
Annotated = Literal["regions", "whole"]


class Numbers(Protocol):
    """Anything that reads a block as int32 numbers, 0 = nothing."""

    def __getitem__(self, block: Block, /) -> NDArray[np.int32]: ...


class _Source(NamedTuple):
    """What the store is filled from.

    Attributes
    ----------
    glands, regions, ignored : numbers of the grid, read block by block
    gland_count : N
    region_names : name of region k + 1
    messages : what was skipped, repaired or clipped
    """

    glands: Numbers
    regions: Numbers
    ignored: Numbers
    gland_count: int
    region_names: list[str]
    messages: list[str]


def label_slide(
    annotation: Path,
    tiles: Path,
    store: Path,
    *,
    slide: str,
    annotated: Annotated,
    origin: CoordinateFrame,
    gland_class: str = "Gland",
    code_version: int,
) -> None:
    """Write `labels/{slide}.zarr`: instance labels, weights and regions on the grid of the slide's tiles.

    A stored pixel belongs to an outline when its centre does; where glands overlap the smaller one wins, and it is said.
    Pixels outside regions and inside `Ignore*` have weight 0. An annotation that cannot be used is recorded in the store.

    Parameters
    ----------
    annotation : GeoJSON as QuPath exports it, or an instance mask image (which is taken as `whole`)
    tiles : tile store of the slide; its recorded failure is passed on
    annotated : only inside `Region*`, or the whole slide
    origin : frame of the GeoJSON's coordinates: the viewer's crop (openslide.bounds-*), or the whole slide

    Raises
    ------
    StoreError
        Another process writes the same store.
    OSError
        Disk or mount fail.
    """
    given = {
        "annotated": annotated,
        "origin": origin,
        "gland_class": gland_class,
        "version": code_version,
    }
    parameters = {"annotation": annotation.name, **given}
    error = recorded_error(tiles)
    if error is not None:
        record_failure(store, SlideError(error), parameters)
        return
    geometry = geometry_of(tiles)
    try:
        with ExitStack() as files:
            source = _source(
                annotation,
                geometry,
                files,
                annotated=annotated,
                origin=origin,
                gland_class=gland_class,
            )
            stamp = {"sha256": _hash(annotation), "tiles": TileStore.read(tiles).fingerprint}
            _write(
                store,
                source,
                geometry,
                {"slide": slide, "parameters": {**parameters, **stamp}, "version": code_version},
            )
    except AnnotationError as failure:
        log.warning("%s is left out of training and evaluation: %s", slide, failure)
        record_failure(store, failure, parameters)


def _source(
    annotation: Path,
    geometry: Geometry,
    files: ExitStack,
    *,
    annotated: Annotated,
    origin: CoordinateFrame,
    gland_class: str,
) -> _Source:
    if annotation.name.lower().endswith(MASK_ENDINGS):
        mask = files.enter_context(open_mask(annotation, geometry))
        note = (
            []
            if mask.count
            else [f"{annotation}: no gland in it; the whole slide is taken as free of glands"]
        )
        return _Source(mask, _frame(geometry, "slide"), Raster([]), mask.count, ["whole"], note)
    drawn = read_annotations(annotation, gland_class=gland_class)
    check_complete(drawn, annotation, annotated=annotated)
    glands, on_grid = _placed(drawn, annotation, geometry, origin)
    if annotated == "whole":
        if drawn.regions:
            drawn.messages.append(
                f"{annotation}: {len(drawn.regions)} areas of class Region* are not used: the whole slide is annotated"
            )
        regions, names = _frame(geometry, origin), ["whole"]
    else:
        regions, names = Raster(on_grid["regions"]), [region.name for region in drawn.regions]
        pairs, _ = regions.overlaps()
        if pairs:
            drawn.messages.append(
                f"{annotation}: {pairs} pairs of regions overlap; what they share belongs to the smaller one"
            )
    return _Source(glands, regions, Raster(on_grid["ignored"]), len(glands), names, drawn.messages)


def _placed(
    drawn: Annotations, path: Path, geometry: Geometry, origin: CoordinateFrame
) -> tuple[Raster, dict[str, list[Any]]]:
    """The glands, ready to be read by blocks, and all outlines on the grid; what does not fit the slide is refused or said."""
    _check_viewer(drawn, path, geometry, origin)
    offset = _offset(geometry, origin)
    on_grid = {
        kind: [to_stored(outline.shape, geometry, offset) for outline in getattr(drawn, kind)]
        for kind in _KINDS
    }
    _check_place(drawn, on_grid, path, geometry)
    glands = Raster(on_grid["glands"])
    pairs, shared_px = glands.overlaps()
    if pairs:
        drawn.messages.append(
            f"{path}: {pairs} pairs of glands overlap, by up to {shared_px:.0f} px; the smaller one wins there"
        )
    return glands, on_grid


def _offset(geometry: Geometry, origin: CoordinateFrame) -> tuple[int, int]:
    return (geometry.bounds_x, geometry.bounds_y) if origin == "bounds" else (0, 0)


def _frame(geometry: Geometry, origin: CoordinateFrame) -> Raster:
    """The whole slide as one region: what the viewer shows."""
    left, top, width, height = 0, 0, geometry.slide_width_px, geometry.slide_height_px
    if origin == "bounds":
        left, top, width, height = (
            geometry.bounds_x,
            geometry.bounds_y,
            geometry.bounds_width_px,
            geometry.bounds_height_px,
        )
    corner = to_stored(shapely.box(left, top, left + width, top + height), geometry, (0, 0))
    x0, y0, x1, y1 = corner.bounds
    # A last stored pixel that is cut by the slide's edge still counts.
    return Raster([shapely.box(x0, y0, max(x1, geometry.width_px if left + width >= geometry.slide_width_px else x1),
                               max(y1, geometry.height_px if top + height >= geometry.slide_height_px else y1))])  # fmt: skip


def _check_viewer(
    drawn: Annotations, path: Path, geometry: Geometry, origin: CoordinateFrame
) -> None:
    """Files of ours say what slide they belong to."""
    expected = (geometry.slide_width_px, geometry.slide_height_px)
    if origin == "bounds":
        expected = (geometry.bounds_width_px, geometry.bounds_height_px)
    if drawn.viewer_px is not None and drawn.viewer_px != expected:
        raise AnnotationError(
            f"{path}: made for a slide of {drawn.viewer_px[0]} x {drawn.viewer_px[1]} px, this one shows {expected[0]} x {expected[1]}; "
            "wrong slide or origin?"
        )


def _check_place(
    drawn: Annotations, on_grid: dict[str, list[Any]], path: Path, geometry: Geometry
) -> None:
    """Outlines mostly off the slide are refused; those cut by its edge are said."""
    shapes = np.array([shape for kind in _KINDS for shape in on_grid[kind]], object)
    outlines: list[Outline] = [outline for kind in _KINDS for outline in getattr(drawn, kind)]
    frame = shapely.box(0, 0, geometry.width_px, geometry.height_px)
    area = shapely.area(shapes)
    inside = shapely.area(shapely.intersection(shapes, frame))
    if area.sum() > 0 and inside.sum() < (1 - _OFF_SLIDE) * area.sum():
        raise AnnotationError(
            f"{path}: {100 * (1 - inside.sum() / area.sum()):.0f} % of the outlined area lies off the slide "
            f"({geometry.slide_width_px} x {geometry.slide_height_px} px); wrong slide, origin or downsample?"
        )
    cut = np.flatnonzero(inside < area * (1 - 1e-6))
    if len(cut):
        drawn.messages.append(
            f"{path}: {len(cut)} outlines reach over the slide's edge (first: {outlines[cut[0]].id}); cut there"
        )


def _write(store: Path, source: _Source, geometry: Geometry, attrs: dict[str, Any]) -> None:
    shape = (geometry.height_px, geometry.width_px)
    grid = blocks(*shape, SHARD_PX)
    counts = {"annotated_px": 0, "gland_px": 0}
    tallies: dict[str, list[tuple[NDArray[np.int64], Seen]]] = {
        "glands": [],
        "regions": [],
        "annotated": [],
    }
    with write_store(store, {**attrs, "geometry": geometry.to_dict()}, resume=False) as partial:
        group = create_group(partial.folder)
        labels, weight, region = (
            create_array(group, name, shape, kind)
            for name, kind in (("labels", np.int32), ("weight", np.uint8), ("region", np.uint16))
        )
        for block in grid:
            glands, regions = source.glands[block], source.regions[block]
            inside = (regions > 0) & (source.ignored[block] == 0)
            for array, values in ((labels, glands), (weight, inside), (region, regions)):
                if values.any():
                    array[block] = values.astype(array.dtype)
            counts["annotated_px"] += int(inside.sum())
            counts["gland_px"] += int((inside & (glands > 0)).sum())
            for name, values in (
                ("glands", glands),
                ("regions", regions),
                ("annotated", np.where(inside, glands, 0)),
            ):
                tallies[name].append(_tally(values, block, shape[1]))
        all_glands, all_regions = (
            merge(tallies[name], n)
            for name, n in (("glands", source.gland_count), ("regions", len(source.region_names)))
        )
        messages = list(source.messages)
        for what, array, found in (
            ("glands", labels, all_glands),
            ("regions", region, all_regions),
        ):
            lost = int((found.area_px == 0).sum())
            if lost:
                messages.append(f"{lost} {what} {_WITHOUT_PIXEL}")
                _close_gaps(array, found.area_px > 0, grid)
        counted_px = merge(tallies["annotated"], source.gland_count).area_px
        counts["glands"] = int((counted_px > 0).sum())
        cut = int(((counted_px > 0) & (counted_px < all_glands.area_px)).sum())
        if cut:
            messages.append(
                f"{counted(cut, 'gland')} across the edge of a region or of Ignore*; only what lies inside counts"
            )
        counts["glands_outside"] = int((all_glands.area_px > 0).sum()) - counts["glands"]
        if not counts["annotated_px"]:
            raise AnnotationError(
                f"{attrs['parameters']['annotation']}: no annotated pixel is left (regions off the slide, or all ignored)"
            )
        names = zip(
            source.region_names, all_regions.area_px, all_regions.box_px.tolist(), strict=True
        )
        windows = [
            StoredRegion(name, Window(top, left, bottom - top, right - left))
            for name, area, (top, left, bottom, right) in names
            if area
        ]
        for message in messages:
            log.info("%s", message)
        LabelStore(
            **attrs,
            geometry=geometry,
            regions=windows,
            messages=messages,
            counts=LabelCounts(**counts),
        ).write(group)


def _tally(
    values: NDArray[np.int32], block: Block, width_px: int
) -> tuple[NDArray[np.int64], Seen]:
    """Numbers present in a block, and where."""
    present = np.unique(values)
    present = present[present > 0]
    local = np.where(values > 0, np.searchsorted(present, values) + 1, 0).astype(np.int32)
    return present.astype(np.int64), seen(runs(local), len(present), block, width_px)


def _close_gaps(array: zarr.Array[Any], present: NDArray[np.bool_], grid: list[Block]) -> None:
    """Renumber what is present to 1..n, in place."""
    lookup = np.zeros(len(present) + 1, array.dtype)
    lookup[1:][present] = np.arange(1, int(present.sum()) + 1)
    for block in grid:
        values = np.asarray(array[block])
        if values.any():
            array[block] = lookup[values]


def _hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def geojson_to_labels(
    annotations: Path,
    slide: Path,
    out: Path,
    *,
    gland_class: str = "Gland",
    objects: Literal["annotations", "all"] = "annotations",
    origin: CoordinateFrame = "bounds",
) -> list[str]:
    """Write outlines as an int32 instance label TIFF at level 0 of a slide; returns what was skipped, clipped or repaired.

    Labels follow the order of the file; where outlines overlap the smaller one wins.

    Raises
    ------
    AnnotationError, SlideError
        The outlines or the slide cannot be read.
    """
    import tifffile

    from tiling.slides.slide_reader import open_slide

    with open_slide(slide) as opened:
        facts = opened.facts
    width, height = facts.width_px, facts.height_px
    left, top, bounds_width, bounds_height = facts.bounds_level0
    geometry = replace(
        Geometry.uniform(width, height),
        bounds_x=left,
        bounds_y=top,
        bounds_width_px=bounds_width,
        bounds_height_px=bounds_height,
    )
    drawn = read_annotations(annotations, gland_class=gland_class, objects=objects)
    glands, _ = _placed(drawn, annotations, geometry, origin)
    held = np.zeros(len(glands) + 1, bool)

    def tiles() -> Iterator[NDArray[np.int32]]:
        side = _TIFF_TILE_PX
        for y in range(0, height, side):
            for x in range(0, width, side):
                pixels = glands[slice(y, y + side), slice(x, x + side)]
                held[pixels] = True
                yield pixels

    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        tifffile.imwrite(
            partial, tiles(), shape=(height, width), dtype=np.int32, tile=(_TIFF_TILE_PX, _TIFF_TILE_PX),
            compression="zlib", bigtiff=True, metadata=None, software=False,
        )  # fmt: skip
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    lost = len(glands) - int(held[1:].sum())
    nothing = [] if drawn.counts else [f"{annotations}: no object in it"]
    return [
        *drawn.messages,
        *nothing,
        *([f"{annotations}: {lost} glands {_WITHOUT_PIXEL}"] if lost else []),
    ]
