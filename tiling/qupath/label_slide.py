"""Annotations of a slide -> its label store: labels and weights on the grid of its tiles."""

import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tiling.outlines.outline_raster import NumberedBlocks, OutlineRaster
from tiling.qupath.annotation_checks import Annotated, check_complete
from tiling.qupath.annotations import read_annotations
from tiling.qupath.class_names import GLAND, REGION, Reading
from tiling.qupath.label_store import LabelSource, write_labels
from tiling.qupath.mask_images import MASK_SUFFIXES, open_instance_mask
from tiling.qupath.placement import place_annotations, viewer_region
from tiling.raster.atomic_files import file_checksum
from tiling.raster.geometry import CoordinateFrame, Geometry
from tiling.slide_errors import AnnotationError, SlideError
from tiling.stores.attributes import geometry_of, record_failure, recorded_error
from tiling.stores.layout import TileStore

log = logging.getLogger(__name__)
_WHOLE_SLIDE = "whole"  # name of the only region, where the whole slide is annotated


@dataclass(frozen=True)
class _ReadingRules:
    """How an annotation file is read: the arguments of `label_slide` of these names."""

    annotated: Annotated
    origin: CoordinateFrame
    gland_class: str


def label_slide(
    annotation: Path,
    tiles: Path,
    store: Path,
    *,
    slide: str,
    annotated: Annotated,
    origin: CoordinateFrame,
    gland_class: str = GLAND,
    code_version: int,
) -> None:
    """Write `labels/{slide}.zarr`: instance labels, weights and regions on the grid of the tiles.

    A stored pixel belongs to an outline when its centre does. Where glands overlap, the pixels
    belong to the smaller one, and a message says so. Pixels outside the regions and inside ignored
    areas have weight 0. An annotation that cannot be used is recorded in the store.

    Parameters
    ----------
    annotation : GeoJSON as QuPath exports it, or an instance mask image, which annotates the whole
        slide
    tiles : tile store of the slide; its recorded failure is recorded again
    store : label store to write
    slide : name of the slide
    annotated : glands are outlined inside the regions only, or on the whole slide
    origin : what the coordinates of the GeoJSON are relative to
    gland_class : class of a gland
    code_version : recorded in the store

    Raises
    ------
    StoreError
        Another process writes the same store.
    OSError
        The disk or a mount fails.
    """
    rules = _ReadingRules(annotated, origin, gland_class)
    parameters = {"annotation": annotation.name, **asdict(rules), "version": code_version}
    tiling_error = recorded_error(tiles)
    if tiling_error is not None:
        record_failure(store, SlideError(tiling_error), parameters)
        return
    geometry = geometry_of(tiles)
    try:
        with ExitStack() as files:
            source = _label_source(annotation, geometry, files, rules)
            checksums = {
                "sha256": file_checksum(annotation),
                "tiles": TileStore.read(tiles).fingerprint,
            }
            write_labels(
                store,
                source,
                geometry,
                slide=slide,
                parameters={**parameters, **checksums},
                code_version=code_version,
            )
    except AnnotationError as failure:
        log.warning("%s is left out of training and evaluation: %s", slide, failure)
        record_failure(store, failure, parameters)


def _label_source(
    annotation: Path, geometry: Geometry, files: ExitStack, rules: _ReadingRules
) -> LabelSource:
    if annotation.name.lower().endswith(MASK_SUFFIXES):
        return _mask_source(annotation, geometry, files)
    return _outline_source(annotation, geometry, rules)


def _mask_source(annotation: Path, geometry: Geometry, files: ExitStack) -> LabelSource:
    mask = files.enter_context(open_instance_mask(annotation, geometry))
    messages: list[str] = []
    if not mask.count:
        messages.append(f"{annotation}: no gland in it; the whole slide counts as free of glands")
    numbers: dict[Reading, NumberedBlocks] = {reading: OutlineRaster([]) for reading in Reading}
    numbers[Reading.GLAND] = mask
    numbers[Reading.REGION] = viewer_region(geometry, "slide")
    return LabelSource(numbers, mask.count, [_WHOLE_SLIDE], messages)


def _outline_source(annotation: Path, geometry: Geometry, rules: _ReadingRules) -> LabelSource:
    drawn = read_annotations(annotation, gland_class=rules.gland_class)
    check_complete(drawn, annotation, annotated=rules.annotated)
    rasters = place_annotations(drawn, annotation, geometry, rules.origin)
    region_names = [region.name for region in drawn.regions]
    if rules.annotated == "whole":
        if drawn.regions:
            drawn.messages.append(
                f"{annotation}: {len(drawn.regions)} areas of class {REGION} are not used: "
                "the whole slide is annotated"
            )
        rasters[Reading.REGION] = viewer_region(geometry, rules.origin)
        region_names = [_WHOLE_SLIDE]
    else:
        pairs, _ = rasters[Reading.REGION].overlaps()
        if pairs:
            drawn.messages.append(
                f"{annotation}: {pairs} pairs of regions overlap; "
                "the shared pixels belong to the smaller one"
            )
    return LabelSource(rasters, len(rasters[Reading.GLAND]), region_names, drawn.messages)
