"""Checks that an annotation file says where every gland of its slide is outlined."""

from pathlib import Path
from typing import Literal

import shapely

from tiling.outlines.outline_raster import shared_area
from tiling.qupath.annotations import AnnotatedOutline, SlideAnnotations, counts_text
from tiling.qupath.class_names import EMPTY_REGION, REGION
from tiling.slide_errors import AnnotationError

_MAX_REGIONS = 65535  # the array `region` of a label store is uint16
# Column `annotated` of the sheet: glands are outlined inside the regions only, or everywhere.
Annotated = Literal["regions", "whole"]


def check_complete(drawn: SlideAnnotations, path: Path, *, annotated: Annotated) -> None:
    """Refuse annotations that do not say where every gland is outlined.

    A region that is declared empty but contains glands adds a message to `drawn`.

    Raises
    ------
    AnnotationError
        No region (unless the whole slide is annotated), a region without a gland that is not
        declared empty, or no gland at all.
    """
    if annotated == "whole":
        _check_whole_slide(drawn, path)
        return
    if not drawn.regions:
        raise AnnotationError(
            f"{path}: no area of class {REGION} in it{_skipped(drawn)}; draw one around each place "
            "where every gland is outlined, or set column 'annotated' to whole in the sheet"
        )
    if len(drawn.regions) > _MAX_REGIONS:
        raise AnnotationError(
            f"{path}: {len(drawn.regions)} areas of class {REGION}, "
            f"at most {_MAX_REGIONS} can be numbered; join them"
        )
    tree = shapely.STRtree([gland.shape for gland in drawn.glands])
    for region in drawn.regions:
        has_gland = _has_gland(region, drawn.glands, tree)
        is_declared_empty = region.name in drawn.empty_regions
        if not has_gland and not is_declared_empty:
            raise AnnotationError(
                f"{path}: {region.name} (feature {region.id}) has no outline of a gland in it"
                f"{_skipped(drawn)}; if it is really empty, give it the class '{EMPTY_REGION}'; "
                "otherwise outline its glands"
            )
        if has_gland and is_declared_empty:
            drawn.messages.append(
                f"{path}: {region.name} is declared empty but contains outlines; they are read"
            )


def _check_whole_slide(drawn: SlideAnnotations, path: Path) -> None:
    if not drawn.glands and not drawn.empty_regions:
        raise AnnotationError(
            f"{path}: no gland in it{_skipped(drawn)}; export annotations, not detections, "
            f"of the gland class, or draw one area of class '{EMPTY_REGION}' "
            "when the slide has no gland"
        )


def _has_gland(
    region: AnnotatedOutline, glands: list[AnnotatedOutline], tree: shapely.STRtree
) -> bool:
    """Whether a gland shares area with the region; to touch it is not enough."""
    indices = tree.query(region.shape, predicate="intersects")
    return any(shared_area(region.shape, glands[index].shape) > 0 for index in indices)


def _skipped(drawn: SlideAnnotations) -> str:
    return f" (left out: {counts_text(drawn.skipped)})" if drawn.skipped else ""
