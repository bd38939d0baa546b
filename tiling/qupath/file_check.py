"""Fast checks of an annotation file before its slide is tiled: what is in it, and does it fit?

The tissue is not known yet, and of a very large mask image only a part is read: `label_slide`
checks both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tiling.messages import counted
from tiling.outlines.geojson_reader import GeoJsonFile
from tiling.outlines.mask_image import is_image
from tiling.outlines.outline_raster import OutlineRaster
from tiling.qupath.annotation_checks import (
    Annotated,
    DrawnNumbers,
    check_complete,
    completeness_problem,
)
from tiling.qupath.annotation_counts import (
    AnnotationCounter,
    AnnotationCounts,
    Box,
    SkippedKind,
)
from tiling.qupath.annotation_source import AnnotationFile
from tiling.qupath.annotations import AnnotationReader, SlideAnnotations, read_annotations
from tiling.qupath.class_names import GLAND, IGNORE, similar_class
from tiling.qupath.mask_check import LargeMaskChecks, check_mask_pixels
from tiling.qupath.mask_images import check_mask_size
from tiling.qupath.placement import place_annotations
from tiling.raster.geometry import Geometry
from tiling.slide_errors import AnnotationError

_MAX_KINDS = 6


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """What an annotation file contains.

    Attributes
    ----------
    text : numbers of regions, glands and ignored areas
    glands : outlines of the gland class; 0 for a mask image
    left_out : what is not read, with the class that was probably meant; "" if all is read
    problem : why the file cannot be used, without its name; None if it can, as far as is known
    extent_px : left, top, right, bottom of the outlines, as in the file; None if unknown
    viewer_px : (width, height) of the viewer that the file was written for; None if unknown
    messages : what was repaired, or what a person should check
    may_be_repeated : whether there was no time for a part that another call may check
    """

    text: str = ""
    glands: int = 0
    left_out: str = ""
    problem: str | None = None
    extent_px: Box | None = None
    viewer_px: tuple[int, int] | None = None
    messages: Sequence[str] = ()
    may_be_repeated: bool = False


def check_file(
    path: Path,
    *,
    annotated: Annotated,
    gland_class: str = GLAND,
    large_masks: LargeMaskChecks | None = None,
) -> FileCheck:
    """Check an annotation file: GeoJSON, or a mask image.

    Parameters
    ----------
    path : annotation file
    annotated : glands are outlined inside the regions only, or on the whole slide
    gland_class : class of a gland
    large_masks : see `tiling.qupath.mask_check.check_mask_pixels`
    """
    try:
        if is_image(path):
            return _mask_file_check(path, large_masks)
        counts, drawn = _parsed(path, gland_class)
    except AnnotationError as error:
        return FileCheck(problem=_without_path(error, path))
    read_glands = counts.glands if isinstance(drawn, AnnotationError) else len(drawn.glands)
    check = FileCheck(
        text=_counts_text(counts, annotated, left_out=counts.glands - read_glands),
        glands=counts.glands,
        left_out=_left_out(counts, gland_class),
        problem=_problem(counts, annotated, gland_class),
        extent_px=counts.extent_px,
        viewer_px=counts.viewer_px,
    )
    if check.problem is not None:
        return check
    try:
        if isinstance(drawn, AnnotationError):
            raise drawn
        return replace(check, messages=_outline_messages(drawn, path, annotated, gland_class))
    except AnnotationError as error:
        return replace(check, problem=_without_path(error, path))


def _mask_file_check(path: Path, large_masks: LargeMaskChecks | None) -> FileCheck:
    check = check_mask_pixels(path, large_masks)
    text = "mask image of the whole slide"
    if not check.is_complete:
        text += "; it is large: all its pixels are checked when its labels are made"
    messages = tuple(message.removeprefix(f"{path}: ") for message in check.messages)
    return FileCheck(text=text, messages=messages, may_be_repeated=check.may_be_repeated)


def _parsed(
    path: Path, gland_class: str
) -> tuple[AnnotationCounts, SlideAnnotations | AnnotationError]:
    """Counts of all objects of a file; its outlines, or why one of them cannot be read."""
    file = GeoJsonFile(path)
    counter = AnnotationCounter(path, gland_class=gland_class)
    reader = AnnotationReader(path, gland_class=gland_class)
    failure: AnnotationError | None = None
    for feature in file.features():
        counter.add(feature)
        try:
            if failure is None:
                reader.add(feature)
        except AnnotationError as error:
            failure = error
    return counter.counts(file.viewer_px), failure or reader.annotations(file.viewer_px)


def _outline_messages(
    drawn: SlideAnnotations, path: Path, annotated: Annotated, gland_class: str
) -> tuple[str, ...]:
    """What is repaired or left out of the outlines that are read, one sentence each."""
    check_complete(drawn, path, annotated=annotated, gland_class=gland_class)
    overlaps = OutlineRaster([gland.shape for gland in drawn.glands]).overlaps()
    messages = list(drawn.outline_messages)
    if overlaps.pairs:
        messages.append(
            f"{path}: {overlaps.text('glands')}; the shared pixels belong to the smaller one"
        )
    return tuple(message.removeprefix(f"{path}: ") for message in messages)


def _without_path(error: AnnotationError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def fit_problem(annotation: AnnotationFile, check: FileCheck, geometry: Geometry) -> str | None:
    """Why an annotation is not of a slide of this size; None if it may be.

    Parameters
    ----------
    annotation : file of the slide
    check : of the file
    geometry : of the slide's tiles
    """
    path, rules = annotation
    try:
        if is_image(path):
            check_mask_size(path, geometry)
        elif not _is_inside(check, geometry.viewer_size(rules.origin)):
            drawn = read_annotations(path, gland_class=rules.gland_class)
            place_annotations(drawn, path, geometry, rules.origin)
    except AnnotationError as error:
        return _without_path(error, path)
    return None


def _is_inside(check: FileCheck, viewer_px: tuple[int, int]) -> bool:
    """Whether all outlines are in a viewer of this size, as far as the check says."""
    if check.viewer_px is not None and tuple(check.viewer_px) != viewer_px:
        return False
    left, top, right, bottom = check.extent_px or (0, 0, 0, 0)
    return left >= 0 and top >= 0 and right <= viewer_px[0] and bottom <= viewer_px[1]


def _counts_text(counts: AnnotationCounts, annotated: Annotated, *, left_out: int) -> str:
    """The numbers of a file; `left_out` of its glands are not read."""
    regions = "whole slide" if annotated == "whole" else counted(counts.regions, "region")
    glands = counted(counts.glands, "gland") + (f" ({left_out} left out)" if left_out else "")
    parts = [regions, glands]
    if counts.ignored:
        parts.append(f"{counts.ignored} {IGNORE}")
    return ", ".join(parts)


def _left_out(counts: AnnotationCounts, gland_class: str) -> str:
    """Kinds of objects that are not read, the most frequent ones first."""
    kinds = sorted(counts.skipped.items(), key=lambda item: (-item[1], item[0]))
    parts = [_kind_text(kind, count, gland_class) for kind, count in kinds[:_MAX_KINDS]]
    if len(kinds) > _MAX_KINDS:
        parts.append(f"{len(kinds) - _MAX_KINDS} more kinds")
    return ", ".join(parts)


def _kind_text(kind: SkippedKind, count: int, gland_class: str) -> str:
    name = f" of class {kind.class_name!r}" if kind.class_name else " without class"
    meant = similar_class(kind.class_name, gland_class=gland_class) if kind.class_name else None
    if kind.kind != "annotation":
        return f"{counted(count, kind.kind)}{name} ({kind.reason})"
    is_other_class = meant is not None and meant != kind.class_name
    return f"{counted(count, kind.kind)}{name}" + (
        f" (did you mean {meant!r}?)" if is_other_class else ""
    )


def _problem(counts: AnnotationCounts, annotated: Annotated, gland_class: str) -> str | None:
    """Why the objects of a file do not say where every gland is outlined; None if they do."""
    other = _other_class(counts)
    hint = f"; if {other!r} is the class of the glands, set export.gland_class to it"
    drawn = DrawnNumbers(counts.regions, counts.empty_regions, counts.glands, counts.without_gland)
    return completeness_problem(
        drawn, annotated=annotated, gland_class=gland_class, hint=hint if other else ""
    )


def _other_class(counts: AnnotationCounts) -> str | None:
    """The most frequent class of annotations that is not read and similar to no class."""
    candidates = [
        (count, kind.class_name)
        for kind, count in counts.skipped.items()
        if kind.kind == "annotation" and kind.class_name and similar_class(kind.class_name) is None
    ]
    return max(candidates)[1] if candidates else None
