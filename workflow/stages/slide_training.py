"""Train a method on slides: from stores and settings to a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semimoe.methods import METHODS
from tiling.stores.attributes import geometry_of
from tiling.stores.layout import PseudoLabelStore
from workflow.config.method_settings import MethodSettings
from workflow.stages.job_resources import JobResources, device_for, training_threads
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


def train(
    method: str,
    slides: TrainingSlides,
    *,
    settings: MethodSettings,
    model: Path,
    job: JobResources,
    warm_start: Path | None = None,
    start_from: Path | None = None,
) -> None:
    """Train one method on the stores of slides and write its model folder.

    Slides whose stores record an error are left out; log and `model.json` name them.

    Parameters
    ----------
    settings : what the training depends on
    model : folder of the model; the state of an unfinished run is beside it, in `{model}.resume`
    warm_start : folder of the supervised model whose training this method continues
    start_from : folder of the model that is fine-tuned

    Raises
    ------
    AnnotationError
        No labelled slide is left.
    """
    from semimoe.model_card import TrainingNotes
    from semimoe.training.fit import fit
    from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData

    device = device_for(job.gpu, training=True)
    training = settings.training_settings()
    slides, left_out = without_failures(slides)
    labelled = _labelled_sources(slides, settings)
    stored_targets = (
        METHODS[method].learns_stored_pseudo_labels and settings.training.pseudo_labels == "stored"
    )
    unlabelled = unlabelled_source(slides.unlabelled, stored_targets=stored_targets)
    notes = TrainingNotes(
        left_out=left_out,
        slides=tuple(slide.slide for slide in slides.labelled),
        data=checksums(slides),
        validation=labelled.validation_note,
    )
    if METHODS[method].uses_unlabelled:
        notes = notes.model_copy(update={"unlabelled_tiles": len(unlabelled)})
    if stored_targets and slides.unlabelled:
        notes = notes.model_copy(update={"pseudo_from": _teachers(slides.unlabelled)})
    mpp_um = _mean_mpp(slides.labelled)
    fit(
        TrainingData(labelled.training, unlabelled, labelled.validation),
        Recipe(method, settings.network, training, mpp_um, settings.seed),
        folders=RunFolders(
            model,
            checkpoint=model.with_name(model.name + ".resume"),
            start_from=start_from,
            warm_start=warm_start,
        ),
        resources=RunResources(device, training_threads(job.threads)),
        notes=notes,
    )


def _labelled_sources(slides: TrainingSlides, settings: MethodSettings) -> LabelledSources:
    tile_px = settings.training_settings().tile_px
    if slides.validation:
        return sources_of_slides(slides.labelled, slides.validation, tile_px)
    return sources_with_held_out_regions(
        slides.labelled, tile_px, share=settings.training.validation_share, seed=settings.seed
    )


def _mean_mpp(slides: Sequence[TrainingSlide]) -> float:
    return float(np.mean([geometry_of(slide.tiles).mpp for slide in slides]))


def _teachers(slides: Sequence[TrainingSlide]) -> str:
    """Checksums of the models that made the stored pseudo-labels, as in the cards of `train`."""
    cards = [PseudoLabelStore.read(slide.pseudo).model for slide in slides if slide.pseudo]
    return ", ".join(sorted({str(card["weights_sha256"])[:16] for card in cards}))
