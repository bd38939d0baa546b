"""Stores of slides -> tile sources -> Semi-MoE: what train_supervised, pseudo_label and train do."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semimoe.methods import METHODS
from tiling.raster.geometry import Window
from tiling.slide_errors import AnnotationError
from tiling.stores.attributes import geometry_of, recorded_error
from tiling.stores.layout import LabelStore, TileStore
from tiling.tiles.held_out_regions import hold_out_regions, overlaps_any
from tiling.tiles.tile_source import JoinedTiles, StoredTiles
from tiling.tiles.training_windows import region_parts, region_windows
from workflow.stages.device_choice import device_for

if TYPE_CHECKING:
    from semimoe.settings import NetworkSettings, TrainingSettings

log = logging.getLogger(__name__)

# Augmentation scales by up to 1.25 and shifts, so windows are read larger than a tile.
READ_FACTOR = 1.25
_STRIDE_SHARE = 8
_PIECE_PX = 1024
# Settings of the pipeline that are not the network's: they choose tiles.
_OURS = ("pseudo_labels", "tiles_per_slide", "min_confidence", "validation_share")


@dataclass(frozen=True)
class Store:
    """The stores of one slide that training reads."""

    slide: str
    tiles: Path
    labels: Path | None = None
    pseudo: Path | None = None


def stores(
    tiles: Sequence[str], labels: Sequence[str] = (), pseudo: Sequence[str] = ()
) -> list[Store]:
    """One `Store` per tile store; label and pseudo-label stores are joined by slide id."""
    by_slide = {Path(path).stem: Path(path) for path in labels}
    pseudo_by_slide = {Path(path).stem: Path(path) for path in pseudo}
    return [
        Store(Path(p).stem, Path(p), by_slide.get(Path(p).stem), pseudo_by_slide.get(Path(p).stem))
        for p in tiles
    ]


def training_settings(
    config: dict[str, Any],
) -> tuple["NetworkSettings", "TrainingSettings"]:
    """Network and training settings from the configuration."""
    from semimoe.settings import NetworkSettings, TrainingSettings

    training = {key: value for key, value in config["training"].items() if key not in _OURS}
    return NetworkSettings(**config["network"]), TrainingSettings(
        tile_px=config["tiles"]["tile_px"], **training
    )


def read_px(tile_px: int) -> int:
    """Side of the windows that training reads, a multiple of 16, stored pixels."""
    return -(-int(tile_px * READ_FACTOR) // 16) * 16


def train(
    method: str,
    *,
    labelled: list[Store],
    unlabelled: list[Store],
    validation: list[Store],
    config: dict[str, Any],
    model: Path,
    gpu: int,
    threads: int,
    warm_start: Path | None = None,
) -> None:
    """Train one method on the slides' stores and write its model folder (`semimoe.training.fit.fit`).

    Slides whose stores record a failure are left out by name.

    Raises
    ------
    AnnotationError
        No labelled slide is left.
    """
    from semimoe.model_card import TrainingNotes
    from semimoe.training.fit import fit
    from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData

    device = device_for(gpu, training=True)
    network, training = training_settings(config)
    share = config["training"]["validation_share"]
    left_out: dict[str, str] = {}
    labelled = _sound(labelled, left_out)
    validation = _sound(validation, left_out)
    unlabelled = _sound([_with_readable_labels(store) for store in unlabelled], left_out)
    if not labelled:
        raise AnnotationError(
            "no labelled slide is left: "
            + "; ".join(f"{slide}: {why}" for slide, why in left_out.items())
        )

    notes: dict[str, Any] = {
        "left_out": left_out,
        "slides": [store.slide for store in labelled],
        "data": _fingerprint(
            labelled + validation + [replace(store, labels=None) for store in unlabelled]
        ),
    }
    if validation:
        train_source = _join(
            [_labelled(store, _windows(store, training.tile_px)) for store in labelled]
        )
        held_out: JoinedTiles | None = _join(
            [
                _labelled(store, region_parts(_labels(store), max_px=_PIECE_PX))
                for store in validation
            ]
        )
        notes["validation"] = [store.slide for store in validation]
    else:
        train_source, held_out, notes["validation"] = _hold_out(
            labelled, training.tile_px, share, config["seed"]
        )
    stored = config["training"]["pseudo_labels"] == "stored"
    unlabelled_source = _join([_unlabelled(store, stored=stored) for store in unlabelled])
    if METHODS[method].uses_unlabelled:
        notes["unlabelled_tiles"] = len(unlabelled_source)
    mpp_um = float(np.mean([geometry_of(store.tiles).mpp for store in labelled]))
    fit(
        TrainingData(train_source, unlabelled_source, held_out),
        Recipe(method, network, training, mpp_um, config["seed"]),
        folders=RunFolders(
            model,
            checkpoint=model.with_name(model.name + ".resume"),
            start_from=Path(config["start_from"]) if config["start_from"] else None,
            warm_start=warm_start,
        ),
        # One core stays with reading and with the machine: measured on two cores, a step on both took 1.3 times as long as on one,
        # and 4 times where another job was running.
        resources=RunResources(device, max(threads - 1, 1)),
        notes=TrainingNotes(**notes),
    )


def _with_readable_labels(store: Store) -> Store:
    """Outlines on unlabelled slides serve the log only: unreadable ones are no reason to leave the slide out."""
    return replace(store, labels=None) if store.labels and recorded_error(store.labels) else store


def _sound(slides: list[Store], left_out: dict[str, str]) -> list[Store]:
    kept = []
    for store in slides:
        read = [path for path in (store.tiles, store.labels, store.pseudo) if path]
        error = next((error for path in read if (error := recorded_error(path))), None)
        if error:
            log.warning("%s is left out of training: %s", store.slide, error)
            left_out[store.slide] = error
        else:
            kept.append(store)
    return kept


def _labels(store: Store) -> Path:
    if store.labels is None:
        raise AnnotationError(f"{store.slide}: no labels; give an annotation in the sheet")
    return store.labels


def _labelled(store: Store, windows: NDArray[np.int64]) -> StoredTiles:
    return StoredTiles(store.tiles, windows, labels=store.labels)


def _windows(store: Store, tile_px: int) -> NDArray[np.int64]:
    windows: NDArray[np.int64] = region_windows(
        _labels(store), read_px=read_px(tile_px), stride_px=max(tile_px // _STRIDE_SHARE, 1)
    )
    return windows


def _unlabelled(store: Store, *, stored: bool) -> StoredTiles:
    """The tiles that the pseudo_label step chose; labels, where known, are for the log only."""
    from tiling.stores.arrays import read_table

    assert store.pseudo is not None  # the rule gives one per unlabelled slide
    table = read_table(store.pseudo, "tiles", ("window_px", "chosen"))
    rows = np.flatnonzero(table["chosen"])
    pseudo = store.pseudo if stored else None
    return StoredTiles(
        store.tiles,
        table["window_px"][rows],
        labels=store.labels,
        pseudo=pseudo,
        pseudo_rows=rows,
        tissue=True,
    )


def _hold_out(
    slides: list[Store], tile_px: int, share: float, seed: int
) -> tuple[JoinedTiles, JoinedTiles | None, str]:
    """Sources of training and of validation on held-out regions, and a note on how they were chosen.

    Windows that overlap a held-out region are not trained on (`tiling.tiles.held_out_regions`).
    """
    regions = [_regions(store) for store in slides]
    held_out = hold_out_regions(regions, distance_px=read_px(tile_px), share=share, seed=seed)
    if held_out is None:
        log.warning(
            "one labelled region (or all of them close together) and no validation slide: "
            "last epoch, threshold 0.5"
        )
        return (
            _join([_labelled(store, _windows(store, tile_px)) for store in slides]),
            None,
            "none: a single region, last epoch and threshold 0.5",
        )
    training, validation = [], []
    for store, held in zip(slides, held_out.windows, strict=True):
        windows = _windows(store, tile_px)
        parts = region_parts(_labels(store), max_px=_PIECE_PX)
        training.append(_labelled(store, windows[~overlaps_any(windows, held)]))
        validation.append(_labelled(store, parts[overlaps_any(parts, held)]))
    return (
        _join(training),
        _join(validation),
        f"same slide, optimistic: {held_out.held_out_count} of {held_out.group_count} "
        "groups of regions held out",
    )


def _regions(store: Store) -> list[Window]:
    return [region.window for region in LabelStore.read(_labels(store)).regions]


def _join(sources: list[StoredTiles]) -> JoinedTiles:
    return JoinedTiles([source for source in sources if len(source)])


def _fingerprint(slides: list[Store]) -> dict[str, str]:
    """A short hash per slide of what its stores were made from."""
    marks = {}
    for store in slides:
        tiles = TileStore.read(store.tiles)
        made: list[dict[str, Any]] = [
            {"fingerprint": tiles.fingerprint, "parameters": tiles.parameters}
        ]
        if store.labels:
            made.append(
                {"fingerprint": None, "parameters": LabelStore.read(store.labels).parameters}
            )
        marks[store.slide] = hashlib.sha256(
            json.dumps(made, sort_keys=True, default=str).encode()
        ).hexdigest()[:16]
    return marks
