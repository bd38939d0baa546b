"""End of a run: choose threshold and split on validation images, and write the model folder."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from semimoe.fine_tuning import START_SHARE
from semimoe.known_images import KnownImages, images_of_sources, known_images
from semimoe.model_card import (
    HISTORY,
    WARM_START,
    ChoiceWithFlips,
    ModelCard,
    StartModelScores,
    TrainingNotes,
)
from semimoe.model_weights import load_weights, save_model
from semimoe.networks.mixture import count_parameters
from semimoe.prediction.flips import with_flips
from semimoe.split_choice import default_split
from semimoe.training.history import COLUMNS, TIMING_COLUMNS, to_csv
from semimoe.training.recipe import TileSource
from semimoe.training.training_run import TrainingRun, copied_state
from semimoe.training.validation import (
    DEFAULT_THRESHOLD,
    Choice,
    SplitWithThreshold,
    ValidationSettings,
    choose,
    scores_of,
)
from tiling.raster.atomic_files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def finish(run: TrainingRun, validation: TileSource | None, out: Path) -> None:
    """Choose weights, threshold and split parameters, and write the model folder.

    `model.json` is written last.
    """
    start_weights = _start_weights(run)
    scores_before = None
    if start_weights is not None and validation is not None:
        scores_before = _score_start_model(run, start_weights, validation)
    if run.best is not None:
        run.network.load_state_dict(run.best.weights)
    if start_weights is not None:
        _average_with_start_model(run, start_weights)
    choice = _default_choice(run) if validation is None else _choice(run, validation)
    if scores_before is not None and (warning := _not_better(run, choice, scores_before)):
        choice.warnings.append(warning)
    gate_notes = tuple(run.collapsed_gates())
    for warning in choice.warnings:
        log.warning("%s", warning)
    for note in gate_notes:
        log.info("%s", note)
    warm_start = run.folders.checkpoint / WARM_START
    if warm_start.is_file():
        write_atomic(out / WARM_START, warm_start.read_bytes())
    metadata = {
        "network": run.recipe.network.to_dict(),
        "normalisation": run.normalisation.model_dump(mode="json"),
    }
    write_atomic(out / HISTORY, to_csv(run.rows, COLUMNS))
    write_atomic(out / "timing.csv", to_csv(run.timings, TIMING_COLUMNS))
    card = _card(run, choice, scores_before, gate_notes)
    if (flips := _choice_with_flips(run, validation)) is not None:
        card = card.model_copy(update={"flips": flips})
    save_model(out, run.network.state_dict(), metadata, card)
    scores = ", ".join(f"{name.replace('_', ' ')} {v:.3f}" for name, v in choice.scores.items())
    log.info("%s: threshold %g; on validation: %s", out, choice.threshold, scores or "not measured")


def _start_weights(run: TrainingRun) -> "dict[str, Tensor] | None":
    """Weights of the start model; None: no fine-tuning."""
    if run.folders.start_from is None or run.start_card is None:
        return None
    return load_weights(run.folders.start_from, run.start_card)[0]


def _average_with_start_model(run: TrainingRun, start_weights: "dict[str, Tensor]") -> None:
    """Replace the weights by the mean of those of the start model and the trained ones."""
    mean = {
        # Counters of batches are whole numbers. Kernels of released models are float16.
        name: torch.lerp(trained, start_weights[name].to(trained), START_SHARE)
        if trained.is_floating_point()
        else trained
        for name, trained in run.network.state_dict().items()
    }
    run.network.load_state_dict(mean)


def _choice(run: TrainingRun, validation: TileSource) -> Choice:
    log.info("choosing threshold and split parameters on %d validation images", len(validation))
    return choose([(run.predictor.maps, validation)], _validation_settings(run))


def _choice_with_flips(run: TrainingRun, validation: TileSource | None) -> ChoiceWithFlips | None:
    """The choice for means over flips, if it is asked for; without validation the start model's."""
    if not run.recipe.training.choose_with_flips:
        return None
    if validation is None:
        return None if run.start_card is None else run.start_card.flips
    settings = _validation_settings(run, flips=True)
    choice = choose([(with_flips(run.predictor.maps), validation)], settings)
    return ChoiceWithFlips(threshold=choice.threshold, split=choice.split, validation=choice.scores)


def _validation_settings(run: TrainingRun, *, flips: bool = False) -> ValidationSettings:
    recipe, start = run.recipe, None
    if run.start_card is not None:
        card = run.start_card.for_prediction(flips=flips)
        start = SplitWithThreshold(card.threshold, card.split)
    return ValidationSettings(recipe.network, recipe.training, recipe.mpp_um, start)


def _default_choice(run: TrainingRun) -> Choice:
    """Values of the start model, or the defaults: nothing can be chosen without validation."""
    if (card := run.start_card) is not None:
        warning = (
            "no validation: last epoch, with threshold and split parameters of the start model;"
            " whether this model is better than the start model is not known"
        )
        return Choice(card.threshold, card.split, {}, [warning])
    split = default_split(run.recipe.training.split_rule, sdf_um=run.recipe.network.sdf_um)
    warning = "no validation: last epoch, threshold 0.5 and default split parameters"
    return Choice(DEFAULT_THRESHOLD, split, {}, [warning])


def _score_start_model(
    run: TrainingRun, start_weights: "dict[str, Tensor]", validation: TileSource
) -> StartModelScores:
    """Scores of the start model on validation."""
    tuned = copied_state(run.network)
    run.network.load_state_dict(start_weights)
    scores = scores_of(run.predictor.maps, validation, _validation_settings(run))
    run.network.load_state_dict(tuned)
    best_dice = run.best.dice if run.best else None
    return StartModelScores(tuned_dice_at_half=best_dice, **scores)


def _not_better(run: TrainingRun, choice: Choice, before: StartModelScores) -> str | None:
    """A warning if the start model has the same or better glands on the validation images."""
    names = ("object_f1", "object_dice")
    scores_before = before.model_dump(include=set(names))
    if sum(choice.scores[name] for name in names) > sum(scores_before.values()):
        return None
    texts = [
        f"{name.replace('_', ' ')} {choice.scores[name]:.3f}, before {scores_before[name]:.3f}"
        for name in names
    ]
    return (
        f"fine-tuning did not make the model better on validation ({'; '.join(texts)}): take the"
        f" start model {run.folders.start_from}, or annotate more regions"
    )


def _card(
    run: TrainingRun,
    choice: Choice,
    scores_before: StartModelScores | None,
    gate_notes: tuple[str, ...],
) -> ModelCard:
    recipe = run.recipe
    network, training = recipe.network.with_all_values(), recipe.training.with_all_values()
    optional: dict[str, Any] = {}
    if scores_before is not None:
        optional["validation_before"] = scores_before
    if run.start_card is not None:
        optional["start_share"] = START_SHARE
    if gate_notes:
        optional["gate_notes"] = gate_notes
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
        threshold_from=_threshold_from(run, choice),
        split=choice.split,
        seed=recipe.seed,
        epochs=training.epochs,
        steps_per_epoch=run.steps,
        best_epoch=run.best.epoch if run.best else run.epoch,
        validation=choice.scores,
        warnings=tuple(run.warnings + choice.warnings),
        micro_batch=run.stepper.micro_batch,
        devices=run.device.processes,
        parameters=count_parameters(run.network),
        versions={name: version(name) for name in ("torch", "lightning", "numpy", "scipy")},
        notes=_notes(run),
        **optional,
    )


def _threshold_from(run: TrainingRun, choice: Choice) -> str:
    if choice.scores:
        return "validation"
    return "default" if run.start_card is None else "start model"


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
