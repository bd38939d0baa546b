"""End of a run: choose threshold and split on validation images, and write the model folder."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from semimoe.model_card import (
    CARD,
    WARM_START,
    WEIGHTS,
    KnownImages,
    ModelCard,
    TrainingNotes,
    images_of_sources,
    known_images,
    save_card,
)
from semimoe.networks.mixture import count_parameters
from semimoe.tensor_files import save_tensors
from semimoe.training.checkpoints import load_start_weights
from semimoe.training.history import COLUMNS, TIMING_COLUMNS, collapsed_gates, to_csv
from semimoe.training.recipe import TileSource
from semimoe.training.training_run import GATE_CHANNEL, TrainingRun, copied_state
from semimoe.training.validation import (
    DEFAULT_SPLIT,
    DEFAULT_THRESHOLD,
    Choice,
    ValidationSettings,
    choose,
    pixel_dice,
)
from tiling.raster.atomic_files import remove_partial_files, write_atomic

log = logging.getLogger(__name__)


def finish(run: TrainingRun, validation: TileSource | None, out: Path) -> None:
    """Choose weights, threshold and split parameters, and write the model folder.

    `model.json` is written last.
    """
    scores_before = _score_start_model(run, validation)
    if run.best is not None:
        run.network.load_state_dict(run.best.weights)
    choice = _default_choice(run) if validation is None else _choice(run, validation)
    choice.warnings.extend(collapsed_gates(run.rows))
    for warning in choice.warnings:
        log.warning("%s", warning)
    warm_start = run.folders.checkpoint / WARM_START
    if warm_start.is_file():
        write_atomic(out / WARM_START, warm_start.read_bytes())
    metadata = {
        "network": run.recipe.network.to_dict(),
        "normalisation": run.normalisation.model_dump(mode="json"),
    }
    save_tensors(out / WEIGHTS, run.network.state_dict(), metadata)
    write_atomic(out / "history.csv", to_csv(run.rows, COLUMNS))
    write_atomic(out / "timing.csv", to_csv(run.timings, TIMING_COLUMNS))
    for name in (WARM_START, WEIGHTS, "history.csv", "timing.csv", CARD):
        remove_partial_files(out / name)  # left by a killed run
    save_card(out, _card(run, choice, scores_before, validated=validation is not None))
    scores = ", ".join(f"{name.replace('_', ' ')} {v:.3f}" for name, v in choice.scores.items())
    log.info("%s: threshold %g; on validation: %s", out, choice.threshold, scores or "not measured")


def _choice(run: TrainingRun, validation: TileSource) -> Choice:
    log.info("choosing threshold and split parameters on %d validation images", len(validation))
    recipe = run.recipe
    settings = ValidationSettings(recipe.network, recipe.training, recipe.mpp_um)
    return choose([(run.predictor(), validation)], settings)


def _default_choice(run: TrainingRun) -> Choice:
    # Predicted distances are clipped at sdf_um, so that no seed can be deeper.
    depth_um = min(DEFAULT_SPLIT.seed_depth_um, run.recipe.network.sdf_um / 2)
    split = DEFAULT_SPLIT.model_copy(update={"seed_depth_um": depth_um})
    warning = "no validation: last epoch, threshold 0.5 and default split parameters"
    return Choice(DEFAULT_THRESHOLD, split, {}, [warning])


def _score_start_model(
    run: TrainingRun, validation: TileSource | None
) -> dict[str, float | None] | None:
    """Validation Dice at threshold 0.5, before and after fine-tuning."""
    if run.folders.start_from is None or validation is None:
        return None
    tuned = copied_state(run.network)
    load_start_weights(run.folders.start_from, run.network)
    training = run.recipe.training
    (dice,) = pixel_dice(
        run.predictor(),
        validation,
        channels=(GATE_CHANNEL,),
        tile_px=training.tile_px,
        batch=training.batch,
    )
    run.network.load_state_dict(tuned)
    return {"dice_at_half": dice, "tuned_dice_at_half": run.best.dice if run.best else None}


def _card(
    run: TrainingRun,
    choice: Choice,
    scores_before: dict[str, float | None] | None,
    *,
    validated: bool,
) -> ModelCard:
    recipe = run.recipe
    network, training = recipe.network, recipe.training
    optional: dict[str, Any] = {}
    if scores_before is not None:
        optional["validation_before"] = scores_before
    return ModelCard(
        method=recipe.method_name,
        network=network,
        training=training,
        mpp_um=recipe.mpp_um,
        tile_px=training.tile_px,
        sdf_um=network.sdf_um,
        sdf_scale=network.sdf_scale if "sdf" in network.expert_tasks else "none",
        normalisation=run.normalisation,
        threshold=choice.threshold,
        threshold_from="validation" if validated else "default",
        split=choice.split,
        seed=recipe.seed,
        epochs=training.epochs,
        steps_per_epoch=run.steps,
        best_epoch=run.best.epoch if run.best else run.epoch,
        validation=choice.scores,
        warnings=tuple(run.warnings + choice.warnings),
        micro_batch=run.stepper.micro_batch,
        devices=run.fabric.world_size,
        parameters=count_parameters(run.network),
        versions={name: version(name) for name in ("torch", "lightning", "numpy", "scipy")},
        notes=_notes(run),
        **optional,
    )


def _notes(run: TrainingRun) -> TrainingNotes:
    """Notes of the run, with those that a fine-tuned model takes from the model it started from.

    The licence of the data applies to every model that was trained on them.
    """
    if run.start_card is None:
        return run.notes
    update: dict[str, Any] = {"start_from": str(run.folders.start_from)}
    licences = (run.start_card.notes.licence, run.notes.licence)
    if texts := dict.fromkeys(text for text in licences if text):
        update["licence"] = "; ".join(texts)
    sources = [known_images(run.start_card)]
    if (source_images := run.notes.known) is not None:
        sources.append(
            KnownImages(frozenset(source_images.learnt), frozenset(source_images.chosen))
        )
    if (images := images_of_sources(sources)) is not None:
        update["known"] = images
    return run.notes.model_copy(update=update)
