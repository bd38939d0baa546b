"""The state of a training run between steps: learner, optimisers, log and best weights."""

import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from semimoe.devices import RunDevice
from semimoe.methods import METHODS
from semimoe.methods.learner import Learner, Network
from semimoe.model_card import HISTORY, WARM_START, ModelCard, Normalisation, TrainingNotes
from semimoe.networks.mixture import TASKS
from semimoe.networks.running_statistics import freeze_running_statistics
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import AdaptiveLoss
from semimoe.objectives.unsupervised_weight import unsupervised_weight
from semimoe.tensor_files import save_tensors
from semimoe.training.checkpoints import CHECKPOINT, CheckpointWriter, checkpoint_tensors
from semimoe.training.history import (
    COLUMNS,
    EpochMeans,
    LogRow,
    can_detect_collapse,
    collapsed_gates,
    to_csv,
)
from semimoe.training.optimiser_step import Stepper
from semimoe.training.recipe import Recipe, RunFolders, TileSource
from semimoe.training.schedule import lr_factor
from semimoe.training.training_predictor import TrainingPredictor
from semimoe.training.validation_dice import ValidationDice
from tiling.raster.atomic_files import write_atomic

log = logging.getLogger(__name__)


class BestEpoch(NamedTuple):
    """The epoch with the best validation Dice so far."""

    epoch: int
    dice: float
    weights: dict[str, Tensor]


@dataclass
class TrainingRun:
    """State of one training run between steps.

    Attributes
    ----------
    steps : optimiser steps per epoch
    normalisation : of the images
    checksum : of all data and settings on which the run depends
    start_card : card of the model that is fine-tuned
    rows, timings : rows of `history.csv` and `timing.csv`, one for each epoch
    means : sums of the current epoch
    validation_dice : set by the first validation
    logged_notes : notes about gates that are in the log already
    warnings : about the whole run, for the card
    """

    recipe: Recipe
    folders: RunFolders
    notes: TrainingNotes
    steps: int
    normalisation: Normalisation
    checksum: str
    device: RunDevice
    checkpoints: CheckpointWriter
    learner: Learner
    optimizers: dict[str, torch.optim.Optimizer]
    stepper: Stepper
    predictor: TrainingPredictor
    start_card: ModelCard | None = None
    epoch: int = 0
    rows: list[LogRow] = field(default_factory=list)
    timings: list[LogRow] = field(default_factory=list)
    best: BestEpoch | None = None
    means: EpochMeans | None = None
    epoch_started_s: float = 0.0
    validation_dice: ValidationDice | None = None
    logged_notes: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def warn(self, warning: str) -> None:
        """Write a warning about the whole run into the log and the card."""
        if self.is_main_process:
            log.warning("%s", warning)
        self.warnings.append(warning)

    @property
    def is_main_process(self) -> bool:
        """Whether this process validates and writes files; one of several processes does."""
        return self.device.rank == 0

    @property
    def network(self) -> Network:
        """The network that predicts."""
        return self.learner.predicting_network

    @contextmanager
    def isolated_random_state(self) -> Iterator[None]:
        """Leave the caller's random generators unchanged.

        Random numbers inside the network (dropout) depend only on seed and epoch.
        """
        device = self.device.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            yield

    def begin_epoch(self) -> None:
        """Seed the random generator, and start the sums of the epoch."""
        # Each process of a training draws its own numbers; the first one those of a single process.
        rank = [self.device.rank] if self.device.rank else []
        seeds = np.random.SeedSequence([self.recipe.seed, self.epoch, *rank])
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))
        self.learner.train()
        if self.recipe.training.statistics == "frozen":
            freeze_running_statistics(self.learner)
        self.means = EpochMeans(self.recipe.network)
        self.epoch_started_s = time.monotonic()

    def step(self, step: int, labelled: Batch, unlabelled: Batch | None) -> None:
        """Take one optimiser step (joint), or one for each phase (two-step).

        Raises
        ------
        NotFiniteError
            See `Stepper.take`.
        """
        training = self.recipe.training
        epochs_done = self.epoch + step / self.steps
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if "initial_lr" in group:
                    group["lr"] = group["initial_lr"] * lr_factor(epochs_done, training)
        assert self.means is not None  # set by begin_epoch
        losses = self.stepper.take(labelled, unlabelled, progress=epochs_done / training.epochs)
        for number, result in enumerate(losses):
            self.means.add(number, result)
        steps_done = self.epoch * self.steps + step
        self.learner.after_update(steps_done)
        self.learner.update_average(steps_done)

    def end_epoch(self, validation: TileSource | None) -> LogRow:
        """Validate, log, and write a checkpoint if it is due."""
        seconds = time.monotonic() - self.epoch_started_s
        self.epoch += 1
        row = self._log_row()
        training = self.recipe.training
        is_due = self.epoch % training.validate_every == 0 or self.epoch == training.epochs
        if self.is_main_process and validation is not None and is_due:
            self._validate(validation, row)
        self.rows.append(row)
        self.timings.append(self._timing_row(seconds))
        if can_detect_collapse(self.rows):
            self._log_once(self.collapsed_gates())
        self.save_warm_start()
        is_last = self.epoch == training.epochs
        if self.is_main_process and (self.checkpoints.is_due() or is_last):
            self._save_checkpoint()
        return row

    def collapsed_gates(self) -> list[str]:
        """Notes about gates that do not distinguish experts, see `history.collapsed_gates`."""
        recipe = self.recipe
        hidden = recipe.network.gate_pooling == "none" or recipe.training.gate_balance > 0
        return collapsed_gates(self.rows, means_hide_weights=hidden)

    def is_finite(self, labelled: Batch) -> bool:
        """Whether all weights, statistics, loss scales and one prediction are finite."""
        tensors = [
            tensor for tensor in self.learner.state_dict().values() if tensor.is_floating_point()
        ]
        norms = torch._foreach_norm(tensors, float("inf"))  # a single GPU operation
        if not bool(torch.isfinite(torch.stack(norms)).all()):
            return False
        return bool(torch.isfinite(self._probabilities(labelled.image)).all())

    def save_warm_start(self) -> None:
        """Save the state that other methods continue, if this epoch ends the warm start.

        Until the run ends, the file is only in the checkpoint folder, because Snakemake deletes
        the outputs of a killed job.
        """
        is_continued = any(
            method.starts_from == self.recipe.method_name for method in METHODS.values()
        )
        is_due = self.epoch == self.recipe.training.warm_start_epochs
        if self.is_main_process and is_continued and is_due:
            metadata = {
                "epoch": self.epoch,
                "steps": self.steps,
                "normalisation": self.normalisation.model_dump(mode="json"),
                "network": self.recipe.network.to_dict(),
            }
            path = self.folders.checkpoint / WARM_START
            save_tensors(path, checkpoint_tensors(self.learner, self.optimizers), metadata)

    def _log_row(self) -> LogRow:
        assert self.means is not None  # set by begin_epoch
        if self.stepper.average is not None:
            self.means.reduce(self.stepper.average)
        row = self.means.row(self.steps) | {"epoch": self.epoch, "steps": self.steps}
        row["lr"] = self.optimizers["network"].param_groups[0]["lr"]
        training = self.recipe.training
        if self.recipe.method.uses_unlabelled:
            progress = torch.tensor(self.epoch / training.epochs, dtype=torch.float64)
            row["unsup_weight"] = float(unsupervised_weight(progress, training))
        if isinstance(self.learner.aggregate, AdaptiveLoss):
            for task, scale in zip(TASKS, self.learner.aggregate.s.tolist(), strict=True):
                if task in self.recipe.network.expert_tasks:
                    row[f"s_{task}"] = scale
        return row

    def _validate(self, validation: TileSource, row: LogRow) -> None:
        training = self.recipe.training
        if self.validation_dice is None:
            self.validation_dice = ValidationDice(
                validation,
                tile_px=training.tile_px,
                batch=training.batch,
                device=self.device.device,
            )
        gate_dice, seg_dice = self.validation_dice(self._probabilities)
        row["val_dice_gate"], row["val_dice_seg"] = gate_dice, seg_dice
        if self.best is None or gate_dice >= self.best.dice:
            self.best = BestEpoch(self.epoch, gate_dice, copied_state(self.network))

    def _probabilities(self, images: Tensor) -> Tensor:
        """Gland probabilities; at most as many tiles at a time as in a training step."""
        return self.predictor.probabilities(images, most_tiles=self.stepper.micro_batch)

    def _timing_row(self, seconds: float) -> LogRow:
        tiles = self.steps * self.recipe.training.batch * len(self.learner.phases())
        return {
            "epoch": self.epoch,
            "seconds": round(seconds, 3),
            "tiles_per_s": tiles / seconds,
            "peak_memory_mb": self._peak_memory_mb(),
        }

    def _log_once(self, notes: list[str]) -> None:
        for note in notes:
            if note not in self.logged_notes and self.is_main_process:
                log.info("epoch %d: %s", self.epoch, note)
            self.logged_notes.add(note)

    def _peak_memory_mb(self) -> float:
        if self.device.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device.device) / 2**20
        # macOS counts bytes, Linux KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)

    def _save_checkpoint(self) -> None:
        metadata = {
            "checksum": self.checksum,
            "epoch": self.epoch,
            "rows": list(self.rows),
            "timings": list(self.timings),
            "micro_batch": self.stepper.micro_batch,
            "best": None if self.best is None else [self.best.epoch, self.best.dice],
        }
        weights = None if self.best is None else self.best.weights
        tensors = checkpoint_tensors(self.learner, self.optimizers, weights)
        self.checkpoints.write(self.folders.checkpoint / CHECKPOINT, tensors, metadata)
        # A person can read this log while the run continues, and after it failed.
        write_atomic(self.folders.checkpoint / HISTORY, to_csv(self.rows, COLUMNS))


def copied_state(network: nn.Module) -> dict[str, Tensor]:
    """Copy the weights and statistics of a network to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
