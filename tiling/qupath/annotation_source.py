"""An annotation file of any kind -> numbers on the stored grid of its slide."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tiling.outlines.mask_image import is_image
from tiling.outlines.outline_raster import NumberedBlocks, OutlineRaster
from tiling.qupath.annotation_checks import Annotated, check_complete
from tiling.qupath.annotation_limits import AnnotationLimits, check_drawing
from tiling.qupath.annotations import read_annotations
from tiling.qupath.class_names import GLAND, REGION, Reading
from tiling.qupath.coordinate_causes import IsTissue
from tiling.qupath.label_store import LabelSource
from tiling.qupath.mask_images import open_instance_mask
from tiling.qupath.placement import place_annotations, viewer_region
from tiling.raster.geometry import CoordinateFrame, Geometry

_WHOLE_SLIDE = "whole"  # name of the only region, where the whole slide is annotated


@dataclass(frozen=True)
class ReadingRules:
    """How an annotation file is read.

    Attributes
    ----------
    annotated : glands are outlined inside the regions only, or on the whole slide
    origin : what the coordinates of the GeoJSON are relative to
    gland_class : class of a gland
    """

    annotated: Annotated
    origin: CoordinateFrame
    gland_class: str = GLAND


class AnnotationFile(NamedTuple):
    """An annotation file of a slide, and how it is read."""

    path: Path
    rules: ReadingRules


def open_annotation(
    annotation: Path,
    geometry: Geometry,
    files: ExitStack,
    rules: ReadingRules,
    *,
    is_tissue: IsTissue | None = None,
) -> LabelSource:
    """The outlines of an annotation file on the stored grid.

    Parameters
    ----------
    annotation : GeoJSON, or an instance mask image
    geometry : of the stored grid
    files : closes the mask image
    rules : how the file is read
    is_tissue : for the likely cause in an error, see `tiling.qupath.coordinate_causes`

    Raises
    ------
    AnnotationError
        The file cannot be used.
    """
    if is_image(annotation):
        return _mask_source(annotation, geometry, files)
    return _outline_source(annotation, geometry, rules, is_tissue)


def _mask_source(annotation: Path, geometry: Geometry, files: ExitStack) -> LabelSource:
    mask = files.enter_context(open_instance_mask(annotation, geometry))
    messages = list(mask.messages)
    if not mask.count:
        messages.append(f"{annotation}: no gland in it; the whole slide counts as free of glands")
    numbers: dict[Reading, NumberedBlocks] = {reading: OutlineRaster([]) for reading in Reading}
    numbers[Reading.GLAND] = mask
    numbers[Reading.REGION] = viewer_region(geometry, "slide")
    return LabelSource(numbers, mask.count, [_WHOLE_SLIDE], messages)


def _outline_source(
    annotation: Path, geometry: Geometry, rules: ReadingRules, is_tissue: IsTissue | None
) -> LabelSource:
    drawn = read_annotations(
        annotation, gland_class=rules.gland_class, limits=AnnotationLimits(annotation)
    )
    check_complete(drawn, annotation, annotated=rules.annotated, gland_class=rules.gland_class)
    rasters = place_annotations(drawn, annotation, geometry, rules.origin, is_tissue=is_tissue)
    check_drawing(rasters, annotation)
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
        overlaps = rasters[Reading.REGION].overlaps()
        if overlaps.pairs:
            drawn.messages.append(
                f"{annotation}: {overlaps.text('regions')}; "
                "the shared pixels belong to the smaller one"
            )
    outlines = [gland.shape for gland in drawn.glands]
    return LabelSource(rasters, len(outlines), region_names, drawn.messages, outlines)
