"""Checks that annotated glands lie on tissue: otherwise their coordinates are not those of a slide.

Outlines on bare glass come from another level of the pyramid, from a rotated view, from coordinates
in micrometres, or from another slide. A model would learn glass as gland.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.messages import counted
from tiling.qupath.class_names import EMPTY_REGION, Reading
from tiling.qupath.coordinate_causes import likely_cause
from tiling.qupath.edge_darkness import MIN_GLANDS, EdgeDarkness
from tiling.qupath.label_store import LabelSource
from tiling.raster.geometry import CoordinateFrame, Geometry, Window, blocks
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import SHARD_PX
from tiling.tiles.tissue_store import StoredTissue

# Glands of real slides lie on tissue with nearly all of their area. The tissue mask leaves out
# lumina that are open to glass, and may leave out pale mucin.
_REFUSED_BELOW = 0.1
_DOUBTFUL_BELOW = 0.5
_MAX_NAMES = 5


def check_tissue(
    source: LabelSource,
    annotation: Path,
    geometry: Geometry,
    tiles: Path,
    tissue: StoredTissue,
    origin: CoordinateFrame,
) -> None:
    """Refuse an annotation with a region whose glands lie on bare glass.

    If more than half of the area of the glands of a region lies on glass, or if the glands are not
    darker at their edges than the tissue beside them, a message is added to the source. Regions
    without glands may be anywhere.

    Parameters
    ----------
    source : the annotation on the stored grid
    annotation : its file, for messages
    geometry : of the stored grid
    tiles : tile store of the slide
    tissue : of the slide
    origin : what the coordinates of the file are relative to

    Raises
    ------
    AnnotationError
        With the names of the regions, and the likely cause.
    """
    darkness = EdgeDarkness(tiles, tissue) if source.gland_count >= MIN_GLANDS else None
    share = tissue_shares(source, Reading.GLAND, geometry, tissue, darkness)
    if source.outlines and np.isnan(share).all():  # the glands are smaller than a stored pixel
        share = tissue_shares(source, Reading.REGION, geometry, tissue)
    refused = np.flatnonzero(share < _REFUSED_BELOW)
    doubtful = np.flatnonzero((share >= _REFUSED_BELOW) & (share < _DOUBTFUL_BELOW))
    if not len(refused) and not len(doubtful):
        message = None if darkness is None else darkness.message()
        source.messages.extend([] if message is None else [f"{annotation}: {message}"])
        return
    cause = likely_cause(source.outlines, geometry, tissue.contains, origin)
    hint = f"; {cause}" if cause else ""
    if len(refused):
        raise AnnotationError(
            f"{annotation}: no tissue under the glands of {_names(source, refused, share)}"
            f"{hint}. Correct the coordinates or the file name; draw the tissue (column 'tissue' "
            f"of the sheet) if it was not found; a region of glass has the class '{EMPTY_REGION}' "
            "and no outline in it"
        )
    source.messages.append(
        f"{annotation}: little tissue under the glands of {_names(source, doubtful, share)}{hint}; "
        "check in the preview that the outlines fit the slide"
    )


def tissue_shares(
    source: LabelSource,
    reading: Reading,
    geometry: Geometry,
    tissue: StoredTissue,
    darkness: EdgeDarkness | None = None,
) -> NDArray[np.float64]:
    """For each region, the share of the pixels of some outlines in it that lie on tissue.

    Parameters
    ----------
    source : the annotation on the stored grid
    reading : which outlines count
    geometry : of the stored grid
    tissue : of the slide
    darkness : to which the blocks are added; None: to none

    Returns
    -------
    float64 (regions,), 0..1; NaN for a region without a pixel of these outlines
    """
    count = len(source.region_names) + 1
    counted_px, on_tissue_px = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for block in blocks(geometry.height_px, geometry.width_px, SHARD_PX):
        numbers = np.asarray(source.numbers[reading][block])
        counts = numbers > 0
        if not counts.any():
            continue
        regions = np.asarray(source.numbers[Reading.REGION][block])
        if darkness is not None:
            darkness.add(block, numbers, regions)
        is_tissue = tissue.read(Window.from_block(block))
        counted_px += np.bincount(regions[counts], minlength=count)
        on_tissue_px += np.bincount(regions[counts & is_tissue], minlength=count)
    with np.errstate(invalid="ignore"):
        return on_tissue_px[1:] / counted_px[1:]


def _names(source: LabelSource, indices: NDArray[np.int64], share: NDArray[np.float64]) -> str:
    """Names of regions, each with the share of its glands that lies on tissue.

    The only region of a slide that is annotated as a whole has no name of a person.
    """
    names = [
        f"{source.region_names[index]} ({100 * share[index]:.0f} % on tissue)"
        for index in indices[:_MAX_NAMES].tolist()
    ]
    more = len(indices) - len(names)
    further = f" and {counted(more, 'more region')}" if more else ""
    return ", ".join(names) + further
