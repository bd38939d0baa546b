"""Measured time of a training step, to tell the duration of a training before it starts."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from semimoe.devices import resolve_precision
from semimoe.model_card import TrainingNotes
from semimoe.training.batch_loader import batches_of_run
from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData
from semimoe.training.start_run import start_run
from tiling.raster.tile import Tile

_TILES_AT_ONCE = 2
_TIMED_STEPS = 2
_WINDOW_FACTOR = 1.25  # tiles are read with a margin for the augmentation


class _GreyTiles:
    """Grey tiles with one disc as gland; the time of a step does not depend on the content."""

    def __init__(self, side_px: int, *, labelled: bool) -> None:
        y, x = np.mgrid[:side_px, :side_px]
        disc = np.hypot(y - side_px / 2, x - side_px / 2) < side_px / 4
        image = np.broadcast_to(np.where(disc, 120, 200).astype(np.uint8), (3, side_px, side_px))
        self._tile = Tile(
            image=image, labels=disc.astype(np.int32) if labelled else None, weight=None
        )

    def __len__(self) -> int:
        return _TILES_AT_ONCE

    def __getitem__(self, index: int) -> Tile:
        return self._tile


def seconds_per_step(recipe: Recipe, resources: RunResources, *, unlabelled: bool) -> float:
    """Time of one optimiser step of a recipe, with reading and augmentation.

    It is measured on two tiles, and multiplied for the batch: the time of a step is nearly
    proportional to the number of tiles.

    Parameters
    ----------
    unlabelled : the method has unlabelled tiles
    """
    batch = min(_TILES_AT_ONCE, recipe.training.batch)
    changes = {
        "batch": batch,
        "epochs": 1,
        "warm_start_epochs": 0,
        "steps_per_epoch": 1 + _TIMED_STEPS,
        "precision": resolve_precision(recipe.training.precision, resources.device),
    }
    small = recipe._replace(training=recipe.training.model_copy(update=changes))
    side_px = round(recipe.training.tile_px * _WINDOW_FACTOR)
    data = TrainingData(
        _GreyTiles(side_px, labelled=True),
        _GreyTiles(side_px, labelled=False) if unlabelled else None,
    )
    with tempfile.TemporaryDirectory() as folder:
        folders = RunFolders(Path(folder) / "model", checkpoint=Path(folder) / "checkpoint")
        run = start_run(data, small, folders=folders, resources=resources, notes=TrainingNotes())
    labelled_batches = batches_of_run(run, data.labelled, "labelled")
    other_batches = None
    if data.unlabelled is not None:
        other_batches = batches_of_run(run, data.unlabelled, "unlabelled")
    ended_s = []
    with run.isolated_random_state():
        run.begin_epoch()
        for step in range(run.steps):
            others = next(other_batches) if other_batches is not None else None
            run.step(step, next(labelled_batches), others)
            if run.device.device.type == "cuda":
                torch.cuda.synchronize()  # a step only starts its operations
            ended_s.append(time.monotonic())
    # The first step also initialises libraries.
    return (ended_s[-1] - ended_s[0]) / _TIMED_STEPS * recipe.training.batch / batch
