"""Train a method on slides: from stores and settings to a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semimoe.methods import METHODS
from tiling.stores.attributes import geometry_of
from workflow.stages.job_resources import JobResources, device_for
from workflow.stages.training_slides import (
    TrainingSlide,
    TrainingSlides,
    checksums,
    without_failures,
)
from workflow.stages.training_sources import (
    LabelledSources,
    sources_of_slides,
    sources_with_held_out_regions,
    unlabelled_source,
)

if TYPE_CHECKING:
    from semimoe.settings import NetworkSettings, TrainingSettings

# Keys of `training` that choose tiles of slides; the others are settings of `semimoe`.
_TILE_KEYS = ("pseudo_labels", "tiles_per_slide", "min_confidence", "validation_share")


def train(
    method: str,
    slides: TrainingSlides,
    *,
    config: dict[str, Any],
    model: Path,
    job: JobResources,
    warm_start: Path | None = None,
) -> None:
    """Train one method on the stores of slides and write its model folder.

    Slides whose stores record an error are left out; log and `model.json` name them.

    Parameters
    ----------
    config : tiles, network, training, seed and start_from of the configuration
    model : folder of the model; the state of an unfinished run is beside it, in `{model}.resume`
    warm_start : folder of the supervised model whose training this method continues

    Raises
    ------
    AnnotationError
        No labelled slide is left.
    """
    from semimoe.model_card import TrainingNotes
    from semimoe.training.fit import fit
    from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData

    device = device_for(job.gpu, training=True)
    network, training = training_settings(config)
    slides, left_out = without_failures(slides)
    labelled = _labelled_sources(slides, config)
    stored_targets = config["training"]["pseudo_labels"] == "stored"
    unlabelled = unlabelled_source(slides.unlabelled, stored_targets=stored_targets)
    notes: dict[str, Any] = {
        "left_out": left_out,
        "slides": [slide.slide for slide in slides.labelled],
        "data": checksums(slides),
        "validation": labelled.validation_note,
    }
    if METHODS[method].uses_unlabelled:
        notes["unlabelled_tiles"] = len(unlabelled)
    fit(
        TrainingData(labelled.training, unlabelled, labelled.validation),
        Recipe(method, network, training, _mean_mpp(slides.labelled), config["seed"]),
        folders=RunFolders(
            model,
            checkpoint=model.with_name(model.name + ".resume"),
            start_from=Path(config["start_from"]) if config["start_from"] else None,
            warm_start=warm_start,
        ),
        # One core is left for reading and for other programs: measured on two cores, a step on
        # both took 1.3 times as long as on one, and 4 times while another job was running.
        resources=RunResources(device, max(job.threads - 1, 1)),
        notes=TrainingNotes(**notes),
    )


def training_settings(
    config: dict[str, Any],
) -> tuple["NetworkSettings", "TrainingSettings"]:
    """Settings of network and training."""
    from semimoe.settings import NetworkSettings, TrainingSettings

    training = {key: value for key, value in config["training"].items() if key not in _TILE_KEYS}
    network = NetworkSettings(**config["network"])
    return network, TrainingSettings(tile_px=config["tiles"]["tile_px"], **training)


def _labelled_sources(slides: TrainingSlides, config: dict[str, Any]) -> LabelledSources:
    tile_px, share = config["tiles"]["tile_px"], config["training"]["validation_share"]
    if slides.validation:
        return sources_of_slides(slides.labelled, slides.validation, tile_px)
    seed = config["seed"]
    return sources_with_held_out_regions(slides.labelled, tile_px, share=share, seed=seed)


def _mean_mpp(slides: Sequence[TrainingSlide]) -> float:
    return float(np.mean([geometry_of(slide.tiles).mpp for slide in slides]))
