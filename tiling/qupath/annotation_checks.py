"""Checks that an annotation file says where every gland of its slide is outlined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import shapely

from tiling.messages import listed
from tiling.outlines.outline_raster import shared_area
from tiling.qupath.annotations import AnnotatedOutline, SlideAnnotations, counts_text
from tiling.qupath.class_names import EMPTY_REGION, GLAND, REGION
from tiling.slide_errors import AnnotationError

_MAX_NAMES, _MAX_LEFT_OUT = 6, 3
# Column `annotated` of the sheet: glands are outlined inside the regions only, or everywhere.
Annotated = Literal["regions", "whole"]


class DrawnNumbers(NamedTuple):
    """Numbers that decide whether an annotation says where every gland is outlined.

    Attributes
    ----------
    regions : areas in which every gland is outlined, also the empty ones
    empty_regions : regions that are declared to contain no gland
    glands : outlines of the gland class
    without_gland : names of regions without a gland that are not declared empty
    """

    regions: int
    empty_regions: int
    glands: int
    without_gland: Sequence[str] = ()


def completeness_problem(
    drawn: DrawnNumbers, *, annotated: Annotated, gland_class: str, hint: str = ""
) -> str | None:
    """Why an annotation does not say where every gland is outlined; None if it does.

    Parameters
    ----------
    drawn : what is in the file
    annotated : glands are outlined inside the regions only, or on the whole slide
    gland_class : class of a gland
    hint : what may have been meant if there is no gland
    """
    if annotated == "regions" and not drawn.regions:
        return (
            f"no area of class {REGION!r}; draw one around each place where every gland is "
            "outlined, or set column 'annotated' to whole"
        )
    if not drawn.glands and not drawn.empty_regions:
        return (
            f"no annotation of class {gland_class!r}{hint}; a region that has no gland has the "
            f"class {EMPTY_REGION!r}"
        )
    if annotated == "regions" and drawn.without_gland:
        return (
            f"no outline of a gland in {listed(drawn.without_gland, _MAX_NAMES)}; outline its "
            f"glands, or give it the class {EMPTY_REGION!r} if it has none"
        )
    return None


def check_complete(
    drawn: SlideAnnotations, path: Path, *, annotated: Annotated, gland_class: str = GLAND
) -> None:
    """Refuse annotations that do not say where every gland is outlined.

    A region that is declared empty but contains glands adds a message to `drawn`.

    Raises
    ------
    AnnotationError
        See `completeness_problem`.
    """
    tree = shapely.STRtree([gland.shape for gland in drawn.glands])
    without_gland = []
    for region in drawn.regions if annotated == "regions" else ():
        has_gland = _has_gland(region, drawn.glands, tree)
        is_declared_empty = region.name in drawn.empty_regions
        if not has_gland and not is_declared_empty:
            without_gland.append(f"{region.name} (feature {region.id})")
        if has_gland and is_declared_empty:
            drawn.messages.append(
                f"{path}: {region.name} is declared empty but contains outlines; they are read"
            )
    numbers = DrawnNumbers(
        len(drawn.regions), len(drawn.empty_regions), len(drawn.glands), without_gland
    )
    problem = completeness_problem(numbers, annotated=annotated, gland_class=gland_class)
    if problem is not None:
        raise AnnotationError(f"{path}: {problem}{_skipped(drawn)}")


def _has_gland(
    region: AnnotatedOutline, glands: list[AnnotatedOutline], tree: shapely.STRtree
) -> bool:
    """Whether a gland shares area with the region; to touch it is not enough."""
    indices = tree.query(region.shape, predicate="intersects")
    return any(shared_area(region.shape, glands[index].shape) > 0 for index in indices)


def _skipped(drawn: SlideAnnotations) -> str:
    """What was left out, with the outlines that cannot be drawn by name; begins with a space."""
    if not drawn.skipped:
        return ""
    text = counts_text(drawn.skipped)
    if drawn.left_out_outlines:
        named = listed([f"feature {name}" for name in drawn.left_out_outlines], _MAX_LEFT_OUT)
        text += f": {named} crosses itself or is too large"
    return f" (left out: {text})"
