"""Tile sources of training and validation, from the stores of slides."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tiling.raster.geometry import Window
from tiling.stores.arrays import read_table
from tiling.stores.layout import LabelStore, PseudoLabelStore
from tiling.tiles.held_out_regions import hold_out_regions, overlaps_any
from tiling.tiles.tile_source import JoinedTiles, RegionTiles, StoredTiles
from tiling.tiles.training_windows import (
    RegionParts,
    WindowTable,
    region_parts,
    region_windows,
)
from workflow.stages.training_slides import TrainingSlide

log = logging.getLogger(__name__)

# Augmentation scales by up to 1.25 and shifts, so windows must be larger than a tile.
_WINDOW_FACTOR = 1.25
_WINDOW_MULTIPLE_PX = 16
_STRIDES_PER_TILE = 8
_MAX_PART_PX = 1024
# Validation sees a quarter of a tile around a region, the overlap of tiles in a prediction.
_MARGINS_PER_TILE = 4


class LabelledSources(NamedTuple):
    """Labelled tiles; no training window overlaps a validation window.

    Attributes
    ----------
    training, validation : validation is None if nothing can be held out
    validation_note : what validation uses, for `model.json`: slides, or a description
    """

    training: JoinedTiles
    validation: JoinedTiles | None
    validation_note: str | tuple[str, ...]


def training_window_px(tile_px: int) -> int:
    """Side of the windows that training reads, a multiple of 16, stored pixels.

    >>> training_window_px(256), training_window_px(100)
    (320, 128)
    """
    return -(-int(tile_px * _WINDOW_FACTOR) // _WINDOW_MULTIPLE_PX) * _WINDOW_MULTIPLE_PX


def stride_px(tile_px: int) -> int:
    """Step between the origins of training windows, stored pixels."""
    return max(tile_px // _STRIDES_PER_TILE, 1)


def sources_of_slides(
    labelled: Sequence[TrainingSlide], validation: Sequence[TrainingSlide], tile_px: int
) -> LabelledSources:
    """Sources with validation slides of their own."""
    return LabelledSources(
        _joined([_labelled(slide, _windows(slide, tile_px)) for slide in labelled]),
        _joined([_validation(slide, _parts(slide), tile_px) for slide in validation]),
        tuple(slide.slide for slide in validation),
    )


def sources_with_held_out_regions(
    labelled: Sequence[TrainingSlide], tile_px: int, *, share: float, seed: int
) -> LabelledSources:
    """Sources in which a share of the labelled regions is held out for validation.

    Windows that overlap a held-out region are not trained on (`tiling.tiles.held_out_regions`).
    """
    held_out = hold_out_regions(
        [_regions(slide) for slide in labelled],
        distance_px=training_window_px(tile_px),
        share=share,
        seed=seed,
    )
    if held_out is None:
        log.warning(
            "no validation: there is no validation slide, and only one labelled region (or all "
            "regions are close together); the last epoch and threshold 0.5 are used"
        )
        training = _joined([_labelled(slide, _windows(slide, tile_px)) for slide in labelled])
        note = "none: a single region, last epoch and threshold 0.5"
        return LabelledSources(training, None, note)
    training_parts, validation_parts = [], []
    for slide, regions in zip(labelled, held_out.windows, strict=True):
        windows, parts = _windows(slide, tile_px), _parts(slide)
        training_parts.append(_labelled(slide, windows[~overlaps_any(windows, regions)]))
        held_out_parts = parts.chosen(overlaps_any(parts.windows_px, regions))
        validation_parts.append(_validation(slide, held_out_parts, tile_px))
    counts = f"{held_out.held_out_count} of {held_out.group_count}"
    return LabelledSources(
        _joined(training_parts),
        _joined(validation_parts),
        f"same slide, optimistic: {counts} groups of regions held out",
    )


def unlabelled_source(slides: Sequence[TrainingSlide], *, stored_targets: bool) -> JoinedTiles:
    """The tiles that rule pseudo_label chose; labels, if there are any, only serve the log.

    Parameters
    ----------
    stored_targets : tiles have the targets of the store; otherwise training makes the targets
    """
    return _joined([_unlabelled(slide, stored_targets=stored_targets) for slide in slides])


def _joined(sources: Sequence[StoredTiles]) -> JoinedTiles:
    """One source of the windows of several slides; slides without windows are left out."""
    return JoinedTiles([source for source in sources if len(source)])


def _labelled(slide: TrainingSlide, windows: WindowTable) -> StoredTiles:
    return StoredTiles(slide.tiles, windows, labels=slide.labels)


def _validation(slide: TrainingSlide, parts: RegionParts, tile_px: int) -> RegionTiles:
    margin_px = -(-tile_px // _MARGINS_PER_TILE // 8) * 8  # sides stay multiples of 16
    return RegionTiles(slide.tiles, parts, labels=slide.required_labels(), margin_px=margin_px)


def _unlabelled(slide: TrainingSlide, *, stored_targets: bool) -> StoredTiles:
    assert slide.pseudo is not None  # the rule gives a pseudo-label store per unlabelled slide
    table = read_table(slide.pseudo, PseudoLabelStore.TABLE, ("window_px", "chosen"))
    rows = np.flatnonzero(table["chosen"])
    return StoredTiles(
        slide.tiles,
        table["window_px"][rows],
        labels=slide.labels,
        pseudo=slide.pseudo if stored_targets else None,
        pseudo_rows=rows,
        tissue=True,
    )


def _windows(slide: TrainingSlide, tile_px: int) -> WindowTable:
    """Training windows around all regions of a slide."""
    return region_windows(
        slide.required_labels(),
        read_px=training_window_px(tile_px),
        stride_px=stride_px(tile_px),
    )


def _parts(slide: TrainingSlide) -> RegionParts:
    """Windows that cover all regions of a slide once."""
    return region_parts(slide.required_labels(), max_px=_MAX_PART_PX)


def _regions(slide: TrainingSlide) -> list[Window]:
    return [region.window for region in LabelStore.read(slide.required_labels()).regions]
