"""Start of a run: from random weights, another model, or the checkpoint of a killed run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from semimoe.devices import RunDevice, start_device
from semimoe.encoders import ENCODERS
from semimoe.fine_tuning import changed_meanings
from semimoe.methods.learner import Forward, Learner, LearnerContext, Outputs
from semimoe.model_card import (
    CARD,
    WARM_START,
    WEIGHTS,
    ModelCard,
    Normalisation,
    TrainingNotes,
    load_card,
)
from semimoe.model_errors import SettingsError, TrainingError
from semimoe.model_weights import load_weights
from semimoe.networks.pretrained import freeze, load_pretrained
from semimoe.settings import Precision
from semimoe.tensor_files import load_metadata
from semimoe.training.batch_loader import image_statistics
from semimoe.training.checkpoints import (
    CHECKPOINT,
    CheckpointWriter,
    choose_checkpoint,
    is_resumable,
    load_checkpoint,
    load_start_weights,
    values_checksum,
)
from semimoe.training.optimiser_step import Stepper
from semimoe.training.recipe import Recipe, RunFolders, RunResources, TileSource, TrainingData
from semimoe.training.schedule import steps_per_epoch
from semimoe.training.training_predictor import TrainingPredictor
from semimoe.training.training_run import BestEpoch, TrainingRun
from tiling.raster.atomic_files import file_checksum

_FINE_TUNING_LR = 0.1
# A warning is logged if the pixel size of a run and that of its start model differ by more.
_MPP_TOLERANCE = 0.05


class _WarmStart(NamedTuple):
    """Metadata of the warm start that a run continues."""

    epoch: int
    steps: int
    normalisation: Normalisation


def start_run(
    data: TrainingData,
    recipe: Recipe,
    *,
    folders: RunFolders,
    resources: RunResources,
    notes: TrainingNotes,
) -> TrainingRun:
    """Build the objects of a run; if a killed run has the same settings, load its checkpoint.

    Raises
    ------
    SettingsError
        Settings do not fit each other or the devices.
    TrainingError
        `start_from` or `warm_start` does not fit the settings.
    """
    _check(recipe, resources)
    training = recipe.training
    device = start_device(
        resources.device,
        devices=resources.devices,
        threads=resources.threads,
        precision=_resolved_precision(recipe),
    )
    warm_start = _load_warm_start(folders)
    start_card = _load_start_card(folders.start_from) if folders.start_from else None
    normalisation = _normalisation(recipe, data.labelled, warm_start, start_card)
    learner = _build_learner(recipe, normalisation)
    if warm_start is None:
        _load_weights(learner, folders)
    freeze(learner, training.frozen_stages)
    learner.start_average()
    if resources.devices > 1 and resources.device == "gpu":
        learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)  # type: ignore[no-untyped-call]
    learner.to(device.device)
    factor = _FINE_TUNING_LR if folders.start_from else 1
    optimizers = learner.optimizers(lr=training.lr * factor)
    stepper = Stepper(
        learner,
        optimizers,
        _autocast_forward(device),
        device=device.device,
        micro_batch=training.batch // resources.devices,
        average=device.average if device.processes > 1 else None,
    )
    if warm_start is None:
        unlabelled = 0 if data.unlabelled is None else len(data.unlabelled)
        steps = steps_per_epoch(len(data.labelled), unlabelled, training)
    else:
        steps = warm_start.steps
    run = TrainingRun(
        recipe=recipe,
        folders=folders,
        notes=notes,
        steps=steps,
        normalisation=normalisation,
        checksum=_run_checksum(data, recipe, folders, notes),
        device=device,
        checkpoints=CheckpointWriter(resources.checkpoint_interval_s),
        learner=learner,
        optimizers=optimizers,
        stepper=stepper,
        predictor=TrainingPredictor(learner.predicting_network, device),
        start_card=start_card,
    )
    _resume_or_begin(run, warm_start)
    if start_card is not None:
        _compare_resolution(run, start_card)
        for change in changed_meanings(recipe.network, start_card.network):
            run.warn(
                f"starts from {folders.start_from}, with another meaning of its outputs: {change};"
                " leave the setting out to keep that of the model, or train longer"
            )
    return run


def _check(recipe: Recipe, resources: RunResources) -> None:
    training = recipe.training
    if training.batch % resources.devices:
        raise SettingsError(
            f"batch {training.batch} cannot be shared by {resources.devices} devices;"
            " it must be a multiple of their number"
        )
    mixes_tiles = training.has_teacher or recipe.method.mixes_tiles
    if mixes_tiles and training.batch // resources.devices < 2:
        pseudo = f"training.pseudo={training.pseudo}"
        cause = recipe.method_name if recipe.method.mixes_tiles else pseudo
        raise SettingsError(
            f"batch {training.batch} on {resources.devices} devices: {cause}"
            " exchanges parts between the tiles of a device (CutMix); give each device at least 2"
        )
    encoder = ENCODERS[recipe.network.encoder]
    if training.frozen_stages and not encoder.pretrained:
        pretrained = ", ".join(entry.name for entry in ENCODERS.values() if entry.pretrained)
        raise SettingsError(
            f"training.frozen_stages {training.frozen_stages}: an encoder with random weights must"
            f" be trained; set it to 0, or network.encoder to {pretrained}"
        )


def _resolved_precision(recipe: Recipe) -> Precision:
    precision = recipe.training.precision
    if precision == "auto":  # `fit` replaces it
        raise SettingsError("training.precision: auto must be resolved before a run starts")
    return precision


def _load_warm_start(folders: RunFolders) -> _WarmStart | None:
    if folders.warm_start is None:
        return None
    metadata = load_metadata(folders.warm_start / WARM_START)
    normalisation = Normalisation(**metadata["normalisation"])
    return _WarmStart(int(metadata["epoch"]), int(metadata["steps"]), normalisation)


def _normalisation(
    recipe: Recipe,
    labelled: TileSource,
    warm_start: _WarmStart | None,
    start_card: ModelCard | None,
) -> Normalisation:
    """Normalisation of the start model, of the pretrained encoder, or of the labelled tiles."""
    if warm_start is not None:
        return warm_start.normalisation
    if start_card is not None:
        return start_card.normalisation
    encoder = ENCODERS[recipe.network.encoder]
    if encoder.image_mean is not None and encoder.image_std is not None:
        return Normalisation(mean=encoder.image_mean, std=encoder.image_std)
    mean, std = image_statistics(labelled)
    return Normalisation(mean=tuple(mean), std=tuple(std))


def _load_start_card(folder: Path) -> ModelCard:
    """The card of a start model. If it has no normalisation, that of the weights is filled in."""
    card = load_card(folder)
    if card.normalisation.mean:
        return card
    tensors, _ = load_weights(folder, card)
    try:
        mean, std = (tuple(tensors[name].flatten().tolist()) for name in ("mean", "std"))
    except KeyError as error:
        raise TrainingError(
            f"start_from {folder}: neither {CARD} nor {WEIGHTS} has the mean and the standard"
            " deviation of the images; take another model"
        ) from error
    return card.model_copy(update={"normalisation": Normalisation(mean=mean, std=std)})


def _build_learner(recipe: Recipe, normalisation: Normalisation) -> Learner:
    context = LearnerContext(
        recipe.network, recipe.training, normalisation.mean, normalisation.std, recipe.mpp_um
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        learner = recipe.method.load_learner()(context)
    return learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _load_weights(learner: Learner, folders: RunFolders) -> None:
    load_pretrained(learner)  # also of networks that a start model does not hold
    if folders.start_from is not None:
        load_start_weights(folders.start_from, learner.network)
        learner.after_loading()


def _run_checksum(
    data: TrainingData, recipe: Recipe, folders: RunFolders, notes: TrainingNotes
) -> str:
    start_from, warm_start = folders.start_from, folders.warm_start
    return values_checksum(
        {
            "method": recipe.method_name,
            "network": recipe.network.to_dict(),
            "training": recipe.training.to_dict(),
            "mpp_um": recipe.mpp_um,
            "seed": recipe.seed,
            "tiles": [0 if source is None else len(source) for source in data],
            "start_from": start_from and file_checksum(start_from / WEIGHTS),
            "warm_start": warm_start and file_checksum(warm_start / WARM_START),
            "notes": notes.model_dump(mode="json", exclude_unset=True),
        }
    )


def _resume_or_begin(run: TrainingRun, warm_start: _WarmStart | None) -> None:
    if run.is_main_process:
        choose_checkpoint(run.folders.checkpoint, run.checksum)
    run.device.barrier()
    checkpoint = run.folders.checkpoint / CHECKPOINT
    resumes = is_resumable(checkpoint, run.checksum)
    if resumes:
        _load_run(run, *load_checkpoint(checkpoint, run.learner, run.optimizers))
    run.device.barrier()  # all processes have read the checkpoint before one of them writes
    if resumes:
        return
    if warm_start is not None and run.folders.warm_start is not None:
        path = run.folders.warm_start / WARM_START
        load_checkpoint(path, run.learner, run.optimizers)
        run.epoch = warm_start.epoch
        epochs = run.recipe.training.epochs
        if run.epoch >= epochs:
            raise TrainingError(
                f"{path}: state after epoch {run.epoch}, but the run has {epochs} epochs;"
                " lower warm_start_epochs or raise epochs"
            )
    run.save_warm_start()


def _load_run(run: TrainingRun, metadata: dict[str, Any], best: dict[str, Tensor]) -> None:
    run.epoch, run.rows, run.timings = metadata["epoch"], metadata["rows"], metadata["timings"]
    if metadata["best"] is not None:
        epoch, dice = metadata["best"]
        run.best = BestEpoch(epoch, dice, best)
    run.stepper.micro_batch = min(run.stepper.micro_batch, metadata["micro_batch"])


def _compare_resolution(run: TrainingRun, card: ModelCard) -> None:
    if abs(run.recipe.mpp_um / card.mpp_um - 1) > _MPP_TOLERANCE:
        run.warn(
            f"starts from {run.folders.start_from}, trained at {card.mpp_um:g} um per pixel, and"
            f" trains at {run.recipe.mpp_um:g}: glands have another size in pixels; work at the"
            " model's resolution, or train longer"
        )


def _autocast_forward(device: RunDevice) -> Forward:
    def forward(network: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
        with device.autocast():
            return network(images)

    return forward
