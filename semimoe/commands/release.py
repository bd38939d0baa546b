"""`release`: from a trained model to one that others can take."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_folder import FolderImages, ImageFile
from semimoe.datasets.image_resolution import Resolution
from semimoe.datasets.lineage import files_read
from semimoe.model_card import (
    CARD,
    WEIGHTS,
    ImageNames,
    ModelCard,
    known_images,
    load_card,
    save_card,
)
from semimoe.model_errors import DataError, SettingsError
from semimoe.tensor_files import load_tensors, save_tensors

if TYPE_CHECKING:
    from semimoe.training.recipe import TileSource
    from tiling.raster.blending import PredictTiles

log = logging.getLogger(__name__)
# Two models that share these differ in what they have seen alone; fewer images take fewer steps.
_SAME = ("method", "network", "training", "mpp_um", "tile_px")
# What a run's warnings about its own threshold begin with: the threshold is another now.
_OF_CHOICE = ("no validation:", "the threshold ")


def run(given: argparse.Namespace) -> None:
    """Write kernels in half precision, with threshold and split parameters of a cross-validation and the licence of the data."""
    from semimoe.settings import TrainingSettings
    from semimoe.training.validation import ValidationSettings, choose

    if (given.out / CARD).exists():
        raise SettingsError(
            f"--out {given.out}: holds a model already; give another folder, or remove it"
        )
    card = load_card(given.model)
    changes: dict[str, Any] = {}
    tensors, about = load_tensors(given.model / WEIGHTS)
    if given.folds:
        if given.data is None:
            raise SettingsError("--folds needs --data, the images that the folds were trained on")
        folds = _folds(given, card)
        choice = choose(
            [(predictor, held) for predictor, held, _ in folds],
            ValidationSettings(card.network, card.training or TrainingSettings(), card.mpp_um),
        )
        changes |= {
            "threshold": choice.threshold,
            "threshold_from": f"cross-validation, {len(given.folds)} folds",
            "split": choice.split,
            "validation": {**choice.scores, "folds": len(given.folds)},
            "warnings": (
                *(text for text in card.warnings if not text.startswith(_OF_CHOICE)),
                *choice.warnings,
                *(text for *_, optimistic in folds for text in optimistic),
            ),
        }
        log.info("threshold %g, split %s: %s", choice.threshold, choice.split, choice.scores)
    inherited = card.notes.licence or ""
    # A new licence does not lift that of the data of a model that this one was made from.
    licence = given.licence if inherited in given.licence else f"{given.licence}; {inherited}"
    changes["notes"] = card.notes.model_copy(update={"licence": licence})
    changes["kernels"] = "float16"
    # Kernels alone: the running variance of a feature can lie beyond the largest half, and the card says what mean and std are.
    kernels = {
        name: tensor.half()
        for name, tensor in tensors.items()
        if name.endswith(".weight") and tensor.ndim == 4
    }
    save_tensors(given.out / WEIGHTS, tensors | kernels, about)
    save_card(given.out, card.model_copy(update=changes))


def _recipe(card: ModelCard) -> dict[str, Any]:
    training = {} if card.training is None else card.training.to_dict()
    training.pop("steps_per_epoch", None)
    return {**{key: getattr(card, key) for key in _SAME}, "training": training}


def _folds(
    given: argparse.Namespace, card: ModelCard
) -> "list[tuple[PredictTiles, TileSource, list[str]]]":
    """Each fold's model with the images that it held out, and what makes its scores better than they are."""
    from semimoe.prediction.predictor import Predictor

    dataset = open_dataset(given.data)
    files = {file.name: file for file in dataset.training()}
    seen: dict[str, Path] = {}
    folds: list[tuple[PredictTiles, TileSource, list[str]]] = []
    if card.notes.images is not None:
        _check_files(given.model, card, files)
    for folder in given.folds:
        fold = load_card(folder)
        trained = fold.notes.resolution
        if trained is None:
            raise SettingsError(
                f"{folder}: trained on slides; a cross-validation is of models of `python -m semimoe train`"
            )
        differing = [key for key in _SAME if _recipe(fold)[key] != _recipe(card)[key]]
        if differing:
            raise SettingsError(
                f"{folder}: another {', '.join(differing)} than {given.model}; a cross-validation is of one recipe"
            )
        held = fold.notes.images.validation if fold.notes.images else ()
        twice = [name for name in held if name in seen]
        absent = [name for name in held if name not in files or files[name].mask is None]
        if not held or twice or absent:
            wrong = (
                "held nothing out"
                if not held
                else f"{', '.join(twice or absent)} "
                + ("held out twice" if twice else "not in --data")
            )
            raise DataError(f"{folder}: {wrong}; each fold holds out images of its own")
        learnt = known_images(fold).learnt
        _check_files(folder, fold, files)
        optimistic = []
        if leaked := [name for name in held if name in learnt]:
            optimistic.append(
                f"{folder.name} held {', '.join(leaked)} out, and its teachers learnt from images of these names: its scores are optimistic"
            )
        if fold.training and fold.training.validate_every < (fold.epochs or 0):
            optimistic.append(
                f"{folder.name} chose its epoch on the images that it held out: its scores are optimistic"
            )
        patients = [
            {dataset.case(name).patient for name in names if name in files}
            for names in (held, learnt - set(held))
        ]
        if both := sorted(patients[0] & patients[1]):
            optimistic.append(
                f"{folder.name} learnt from other images of patients {', '.join(both)} that it held out: its scores are optimistic"
            )
        for warning in optimistic:
            log.warning("%s", warning)
        seen |= dict.fromkeys(held, folder)
        predictor = Predictor.load(folder, device=given.device, threads=given.threads)
        folds.append(
            (
                predictor,
                FolderImages(
                    [files[name] for name in held], resolution=Resolution(**trained.model_dump())
                ),
                optimistic,
            )
        )
    return folds


def _check_files(folder: Path, card: ModelCard, files: dict[str, ImageFile]) -> None:
    """Folds of other images or outlines than the model's would choose for another model."""
    images = card.notes.images or ImageNames()
    outlined, unlabelled = (
        [files[name] for role in roles for name in getattr(images, role) if name in files]
        for roles in (("labelled", "validation"), ("unlabelled",))
    )
    if card.notes.data not in {
        files_read(outlined, unlabelled, masks=masks) for masks in (False, True)
    }:
        raise DataError(
            f"{folder}: was trained on other images or outlines than --data {next(iter(files.values())).image.parent}; train it again"
        )
