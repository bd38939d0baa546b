"""Outlines -> instance labels and weights on the grid of a slide's tiles."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.annotation.geojson import Annotations, Outline, read_annotations
from tiling.annotation.masks import mask_labels
from tiling.errors import AnnotationError, SlideError
from tiling.geometry import Geometry, blocks
from tiling.store.arrays import SHARD_PX, create_array, create_group, geometry_of, record_failure, recorded_error, set_attributes
from tiling.store.atomic import building

log = logging.getLogger(__name__)
MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
_OFF_SLIDE = 0.5
Block = tuple[slice, slice]


def label_slide(
    annotation: Path,
    tiles: Path,
    store: Path,
    *,
    slide: str,
    annotated: Literal["regions", "whole"],
    origin: Literal["bounds", "slide"],
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
    """
    parameters = {
        "annotation": annotation.name,
        "annotated": annotated,
        "origin": origin,
        "gland_class": gland_class,
        "version": code_version,
    }
    error = recorded_error(tiles)
    if error:
        record_failure(store, SlideError(error), parameters)
        return
    geometry = geometry_of(tiles)
    try:
        if annotation.name.lower().endswith(MASK_ENDINGS):
            source = _from_mask(annotation, geometry)
        else:
            drawn = read_annotations(annotation, gland_class=gland_class)
            source = _from_outlines(drawn, annotation, geometry, annotated=annotated, origin=origin)
    except AnnotationError as failure:
        log.warning("%s", failure)
        record_failure(store, failure, parameters)
        return
    _write(store, source, geometry, {"slide": slide, "parameters": parameters, "version": code_version})


class _Source:
    """What the store is filled from: a reader of blocks, and what the attributes say."""

    def __init__(
        self,
        read: Callable[[Block], tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint16]]],
        regions: list[dict[str, Any]],
        messages: list[str],
    ) -> None:
        self.read, self.regions, self.messages = read, regions, messages


def _write(store: Path, source: _Source, geometry: Geometry, attrs: dict[str, Any]) -> None:
    shape = (geometry.height_px, geometry.width_px)
    for message in source.messages:
        log.info("%s", message)
    with building(store, {**attrs, "geometry": geometry.to_dict()}, keep_partial=False) as partial:
        group = create_group(partial.folder)
        arrays = [
            create_array(group, name, shape, kind) for name, kind in (("labels", np.int32), ("weight", np.uint8), ("region", np.uint16))
        ]
        counts = {"annotated_px": 0, "gland_px": 0}
        seen: set[int] = set()
        for block in blocks(*shape, SHARD_PX):
            values = source.read(block)
            for array, value in zip(arrays, cast(tuple[NDArray[Any], ...], values), strict=True):
                if value.any():
                    array[block] = value
            labels, weight, _ = values
            counts["annotated_px"] += int(weight.sum())
            counts["gland_px"] += int(((labels > 0) & (weight > 0)).sum())
            seen.update(np.unique(labels[weight > 0]).tolist())
        counts["glands"] = len(seen - {0})
        given = {"regions": source.regions, "messages": source.messages, "counts": counts}
        set_attributes(group, {"status": "ok", **attrs, "geometry": geometry.to_dict(), **given})


def _from_mask(path: Path, geometry: Geometry) -> _Source:
    labels = mask_labels(path, geometry)

    def read(block: Block) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint16]]:
        part = labels[block]
        return part, np.ones(part.shape, np.uint8), np.ones(part.shape, np.uint16)

    return _Source(read, [_whole(geometry)], [])


def _whole(geometry: Geometry) -> dict[str, Any]:
    return {"name": "whole", "window": [0, 0, geometry.height_px, geometry.width_px]}


def _from_outlines(
    drawn: Annotations, path: Path, geometry: Geometry, *, annotated: Literal["regions", "whole"], origin: Literal["bounds", "slide"]
) -> _Source:
    shift = (geometry.bounds_x, geometry.bounds_y) if origin == "bounds" else (0, 0)
    stored = {kind: [_to_stored(o, geometry, shift) for o in getattr(drawn, kind)] for kind in ("glands", "regions", "ignored")}
    _refuse_off_slide([o for outlines in stored.values() for o in outlines], path, geometry)
    if annotated == "regions":
        _refuse_unclear(drawn, stored, path)
    # Larger first: where glands overlap, the smaller one is drawn last and wins.
    glands = sorted(stored["glands"], key=lambda outline: -outline.shape.area)
    trees = [shapely.STRtree([outline.shape for outline in outlines]) for outlines in (glands, stored["regions"], stored["ignored"])]
    windows = [_window(region, geometry) for region in stored["regions"]]
    regions = (
        [{"name": r.name, "window": w} for r, w in zip(stored["regions"], windows, strict=True)]
        if annotated == "regions"
        else [_whole(geometry)]
    )

    def read(block: Block) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint16]]:
        labels = _rasterised(glands, trees[0], block, np.int32)
        region = _rasterised(stored["regions"], trees[1], block, np.uint16) if annotated == "regions" else np.ones(labels.shape, np.uint16)
        ignored = _rasterised(stored["ignored"], trees[2], block, np.uint16)
        return labels, ((region > 0) & (ignored == 0)).astype(np.uint8), region

    return _Source(read, regions, [*drawn.messages, *_overlaps(glands, trees[0])])


def _to_stored(outline: Outline, geometry: Geometry, shift: tuple[int, int]) -> Outline:
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    return Outline(outline.name, shapely.transform(outline.shape, lambda points: (points + np.array(shift)) / scale))


def _refuse_off_slide(outlines: list[Outline], path: Path, geometry: Geometry) -> None:
    frame = shapely.box(0, 0, geometry.width_px, geometry.height_px)
    total = sum(outline.shape.area for outline in outlines)
    outside = total - sum(shapely.intersection(outline.shape, frame).area for outline in outlines)
    if total and outside / total > _OFF_SLIDE:
        raise AnnotationError(
            f"{path}: {100 * outside / total:.0f} % of the outlines lie off the slide "
            f"({geometry.slide_width_px} x {geometry.slide_height_px} px); wrong slide, origin or downsample?"
        )


def _refuse_unclear(drawn: Annotations, stored: dict[str, list[Outline]], path: Path) -> None:
    """Regions must say what is outlined; an empty one must say that it is meant."""
    if not drawn.regions:
        raise AnnotationError(
            f"{path}: no area of class Region* in it; draw one around each place where every gland is outlined, "
            "or set column 'annotated' to whole in the sheet"
        )
    tree = shapely.STRtree([gland.shape for gland in stored["glands"]])
    for region in stored["regions"]:
        if region.name not in drawn.empty and not len(tree.query(region.shape, predicate="intersects")):
            raise AnnotationError(f"{path}: {region.name} has no outline of a gland; really empty? then give it the class 'Region*: empty'")


def _window(region: Outline, geometry: Geometry) -> list[int]:
    left, top, right, bottom = region.shape.bounds
    y, x = max(int(np.floor(top)), 0), max(int(np.floor(left)), 0)
    return [y, x, min(int(np.ceil(bottom)), geometry.height_px) - y, min(int(np.ceil(right)), geometry.width_px) - x]


def _rasterised(outlines: list[Outline], tree: Any, block: Block, kind: Any) -> NDArray[Any]:  # noqa: ANN401  # shapely, numpy dtype
    """Outline i as value i + 1 in a block; later ones over earlier ones; a pixel belongs to what holds its centre."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    shape = (block[0].stop - block[0].start, block[1].stop - block[1].start)
    here = sorted(tree.query(shapely.box(block[1].start, block[0].start, block[1].stop, block[0].stop)))
    if not here:
        return np.zeros(shape, kind)
    values = ((outlines[number].shape, number + 1) for number in here)
    place = Affine.translation(block[1].start, block[0].start)
    return np.asarray(rasterize(values, out_shape=shape, transform=place, dtype=np.int32)).astype(kind)


def _overlaps(glands: list[Outline], tree: Any) -> list[str]:  # noqa: ANN401  # shapely has no types
    if not glands:
        return []
    shapes = [gland.shape for gland in glands]
    pairs = tree.query(shapes, predicate="overlaps").T
    count = sum(1 for a, b in pairs if a < b and shapely.intersection(shapes[a], shapes[b]).area > 1)
    return [f"{count} pair(s) of glands overlap; the smaller one is kept where they do"] if count else []


def geojson_to_labels(
    annotations: Path, slide: Path, out: Path, *, gland_class: str = "Gland", objects: Literal["annotations", "all"] = "annotations"
) -> list[str]:
    """Write outlines as an int32 instance label TIFF at level 0 of a slide; returns what was skipped or repaired.

    Raises
    ------
    AnnotationError, SlideError
        The outlines or the slide cannot be read.
    """
    import tifffile

    from tiling.slide.reader import open_slide

    with open_slide(slide) as opened:
        facts = opened.facts
    width, height = facts.level_sizes_px[0]
    drawn = read_annotations(annotations, gland_class=gland_class, objects=objects)
    shift = np.array([facts.bounds_level0[0], facts.bounds_level0[1]])
    glands = [Outline(gland.name, shapely.transform(gland.shape, lambda points: points + shift)) for gland in drawn.glands]
    tree = shapely.STRtree([gland.shape for gland in glands])

    def tiles() -> Any:  # noqa: ANN401  # generator of tiles
        for y in range(0, height, 1024):
            for x in range(0, width, 1024):
                yield _rasterised(glands, tree, (slice(y, y + 1024), slice(x, x + 1024)), np.int32)

    partial = out.with_name(f".{out.name}.partial")
    tifffile.imwrite(partial, tiles(), shape=(height, width), dtype=np.int32, tile=(1024, 1024), compression="zlib", bigtiff=True)
    partial.replace(out)
    return [*drawn.messages, *_overlaps(glands, tree)]
